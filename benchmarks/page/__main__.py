"""The page beside the bare API and beside a bare Gradio chat, on this machine: `python -m benchmarks.page`.

Each server runs in a process of its own over the same scripted tier, so that what differs is the page. Times are
medians; CPU and memory are read from `/proc` (Linux).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TURNS = 30
IDLE_SECONDS = 30
KINDS = ("api", "page", "gradio")


def main() -> None:
    print("| figure | API alone | page | bare Gradio chat |\n|---|--:|--:|--:|")
    measured = {kind: measure(kind) for kind in KINDS}
    for name in ("health_s", "first_token_ms", "tokens_s", "idle_cpu_s_per_min", "memory_mb", "memory_after_mb"):
        print(f"| {name} | " + " | ".join(shown(measured[kind].get(name)) for kind in KINDS) + " |", flush=True)


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 20 else f"{value:.0f}"


def measure(kind: str) -> dict[str, float]:
    begun = time.monotonic()
    with running(kind) as (pid, url):
        found: dict[str, float] = {}
        if kind != "gradio":
            found["health_s"] = until_answer(f"{url}/health") - begun
        if kind == "page":
            while "is loading" in httpx.get(f"{url}/ui/").text:
                time.sleep(0.2)
        if kind == "gradio":
            until_answer(url)
        time.sleep(5)
        found["memory_mb"] = memory(pid)
        before = cpu(pid)
        time.sleep(IDLE_SECONDS)
        found["idle_cpu_s_per_min"] = (cpu(pid) - before) * 60 / IDLE_SECONDS
        ask = {"api": ask_api, "page": ask_page, "gradio": ask_gradio}[kind](url)
        ask("Hi")
        found["first_token_ms"] = 1000 * statistics.median(ask("Hi")[0] for _ in range(TURNS))
        found["tokens_s"] = ask("Many")[1]
        found["memory_after_mb"] = memory(pid)
        return found


Asking = Callable[[str], tuple[float, float]]


def ask_api(url: str) -> Asking:
    def ask(prompt: str) -> tuple[float, float]:
        return timed(f"{url}/ai/query", {"prompt": prompt, "stream": True}, "event: delta")

    return ask


def ask_page(url: str) -> Asking:
    def ask(prompt: str) -> tuple[float, float]:
        chat = httpx.post(f"{url}/ui/chats", json={}).json()["id"]
        return timed(f"{url}/ui/chats/{chat}/ask", {"prompt": prompt}, "event: delta")

    return ask


def ask_gradio(url: str) -> Asking:
    def ask(prompt: str) -> tuple[float, float]:
        begun = time.perf_counter()
        call = httpx.post(f"{url}/gradio_api/call/chat", json={"data": [prompt]}).json()["event_id"]
        return timed_get(f"{url}/gradio_api/call/chat/{call}", "event: generating", begun)

    return ask


def timed(url: str, body: Any, sign: str) -> tuple[float, float]:
    begun = time.perf_counter()
    with httpx.stream("POST", url, json=body, timeout=60) as reply:
        return read(reply, sign, begun)


def timed_get(url: str, sign: str, begun: float) -> tuple[float, float]:
    with httpx.stream("GET", url, timeout=60) as reply:
        return read(reply, sign, begun)


def read(reply: httpx.Response, sign: str, begun: float) -> tuple[float, float]:
    """Seconds until the first line that begins with the sign, and until the end."""
    first = 0.0
    for line in reply.iter_lines():
        if not first and line.startswith(sign):
            first = time.perf_counter() - begun
    return first, time.perf_counter() - begun


@contextmanager
def running(kind: str) -> Iterator[tuple[int, str]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "AI_GATEWAY_STATE_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        command = [sys.executable, "-m", "benchmarks.page.serving", kind]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            try:
                yield process.pid, json.loads(process.stdout.readline())["url"]
            finally:
                process.terminate()


def until_answer(url: str) -> float:
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return time.monotonic()


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
