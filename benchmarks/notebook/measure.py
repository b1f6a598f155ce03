"""What the notebook front end costs: python benchmarks/notebook/measure.py

Prints one table. CPU seconds are of the kernel's own process, the median of several fresh kernels; wall times on a
busy machine say little. The providers are simulated on loopback.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway_core.testing.simulators import OpenAISimulator
from tests.notebook.kernel import Kernel, Outcome

ROUNDS = 5
HEAVY = ("gradio", "fastapi", "pandas", "httpx", "pydantic", "openai")
LOAD = """
import resource, sys
def _used():
    u = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime
_before, _modules = _used(), set(sys.modules)
get_ipython().run_line_magic('load_ext', 'notebook_ext')
_cost, _new = _used() - _before, set(sys.modules) - _modules
"""


def load(rounds: int) -> list[tuple[str, str, str]]:
    costs, modules, heavy = [], 0, ""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            kernel = Kernel(Path(folder))
            try:
                kernel.run(LOAD)
                costs.append(1000 * kernel.value("_cost"))
                new = kernel.value("list(_new)")
            finally:
                kernel.close()
        modules, heavy = len(new), ", ".join(name for name in HEAVY if name in new) or "none"
    return [
        ("%load_ext, CPU", f"{statistics.median(costs):.0f} ms", "60 ms"),
        ("modules it imports", str(modules), ""),
        (f"of these {', '.join(HEAVY)}", heavy, "none"),
    ]


def words(count: int) -> str:
    return " ".join(f"word{number % 100}" for number in range(count))


def in_a_kernel(openai: OpenAISimulator, kernel: Kernel) -> list[tuple[str, str, str]]:
    kernel.run("%load_ext notebook_ext")
    kernel.run("%%ai\nwarm up")
    rows = []

    openai.answer, openai.token_delay = words(90), 0.05
    outcome = kernel.run("%%ai\nHello")
    rows.append(("steps of 90 tokens at 20 a second", str(len(set(outcome.growth))), "at least 30"))

    openai.answer, openai.token_delay = words(2000), 0.005
    outcome = kernel.run("%%ai\nHello")
    rows.append(("2000 tokens at 200 a second, messages", f"{outcome.bytes / 1e6:.2f} MB", "1 MB"))

    openai.answer, openai.token_delay = words(400), 0.02
    waits = sorted(_interrupt(openai, kernel) for _ in range(10))
    rows.append(("interrupt to upstream closed, median", f"{statistics.median(waits):.1f} ms", ""))
    rows.append(("interrupt to upstream closed, worst of 10", f"{waits[-1]:.1f} ms", "100 ms"))

    kernel.run("notes_one = notes_two = 'x'")
    for typed in ("%%ai_rag -d no", "%%ai --", "%ai "):
        times = sorted(_timed(lambda typed=typed: kernel.complete(typed)) for _ in range(20))  # type: ignore[misc]
        rows.append((f"completion of {typed!r}, p95", f"{times[18]:.0f} ms", "50 ms"))
    return rows


def _interrupt(openai: OpenAISimulator, kernel: Kernel) -> float:
    pressed: list[float] = []

    def stop(outcome: Outcome) -> None:
        if not pressed and len(outcome.growth) > 3:
            pressed.append(time.time())
            kernel.interrupt()

    kernel.run("%%ai\nHello", stop)
    by = time.monotonic() + 10
    while openai.paid_calls[-1].ended is None and time.monotonic() < by:
        time.sleep(0.005)
    return 1000 * ((openai.paid_calls[-1].ended or float("inf")) - pressed[0])


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def main() -> int:
    rows = load(ROUNDS)
    with OpenAISimulator() as openai, tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder), OPENAI_BASE_URL=openai.base_url, OPENAI_API_KEY="sk-simulated")
        try:
            rows += in_a_kernel(openai, kernel)
        finally:
            kernel.close()
    width = max(len(name) for name, _, _ in rows)
    for name, value, bar in rows:
        print(f"{name:<{width}}  {value:>10}  {bar}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
