"""The page beside the bare API and beside a bare Gradio chat, on this machine: `python -m benchmarks.page`.

Three servers, each in a process of its own over the same scripted tier, so that what differs is the page. In each
round they are started anew, one after another in turns; idle CPU is read of all in the same seconds; short questions
alternate between them, the long ones are asked of all at once. Shown are medians, with the least and the most. CPU
and memory are read from `/proc` (Linux). Ends with status 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from .asking import Asker

KINDS = ("api", "page", "gradio")
ROWS = {
    "health": "start until `/health` answers, s",
    "first": "first token at the client, ms",
    "tokens": "1500 tokens at 100 a second, s",
    "leave": "hanging up until the provider is closed, ms",
    "idle": "CPU while nobody is there, s a minute",
    "memory": "memory before these answers, MB",
    "after": "memory after them, MB",
}

Figures = dict[str, dict[str, list[float]]]


@dataclass
class Server:
    kind: str
    process: subprocess.Popen[bytes]
    url: str
    facts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=20, help="short questions in a round")
    parser.add_argument("--long", type=int, default=2, help="long questions in a round, 15 s each")
    parser.add_argument("--idle", type=float, default=30, help="seconds without anybody")
    options = parser.parse_args()
    figures: Figures = {kind: defaultdict(list) for kind in KINDS}
    for number in range(options.rounds):
        one_round(figures, KINDS[number % 3 :] + KINDS[: number % 3], options)
        print(f"round {number + 1} of {options.rounds} is over", file=sys.stderr, flush=True)
    print(table(figures))
    goals = list(judged(figures))
    print("\n".join(f"{'met   ' if is_met else 'MISSED'} {words}" for is_met, words in goals))
    return 0 if all(is_met for is_met, _ in goals) else 1


def one_round(figures: Figures, order: tuple[str, ...], options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(running(kind)) for kind in order]
        time.sleep(5)
        for server in servers:
            server.facts["memory"].append(memory(server.process.pid))
        before = [cpu(server.process.pid) for server in servers]
        time.sleep(options.idle)
        for server, then in zip(servers, before, strict=True):
            server.facts["idle"].append((cpu(server.process.pid) - then) * 60 / options.idle)
        askers = [Asker(server.kind, server.url) for server in servers]
        for asker in askers:
            asker.ask("Hi")
        for _ in range(options.turns):
            for server, asker in zip(servers, askers, strict=True):
                server.facts["first"].append(1000 * asker.ask("Hi")[0])
        with ThreadPoolExecutor(len(askers)) as threads:  # at once: what else the machine does hits all alike
            for _ in range(options.long):
                ends = threads.map(lambda asker: asker.ask("Many")[1], askers)
                for server, end in zip(servers, ends, strict=True):
                    server.facts["tokens"].append(end)
        for server, asker in zip(servers, askers, strict=True):
            server.facts["after"].append(memory(server.process.pid))
            left = asker.leave()
            server.facts["leave"].append(1000 * (float(server.hear()["closed"]) - left))
        for server in servers:
            for name, values in server.facts.items():
                figures[server.kind][name] += values


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server that has loaded all it loads."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "AI_GATEWAY_STATE_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        command = [sys.executable, "-m", "benchmarks.page.serving", kind]
        begun = time.monotonic()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            server = Server(kind, process, "")
            try:
                server.url = server.hear()["url"]
                if kind == "gradio":
                    answered(server.url)
                else:
                    server.facts["health"].append(answered(f"{server.url}/health") - begun)
                while kind == "page" and "is loading" in httpx.get(f"{server.url}/ui/", timeout=60).text:
                    time.sleep(0.2)
                yield server
            finally:
                process.terminate()


def answered(url: str) -> float:
    """The moment of the first answer."""
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return time.monotonic()


def table(figures: Figures) -> str:
    rows = [
        f"| {words} | " + " | ".join(shown(figures[kind].get(name)) for kind in KINDS) + " |"
        for name, words in ROWS.items()
    ]
    return "\n".join(["| Figure | API alone | page | bare Gradio chat |", "|---|--:|--:|--:|", *rows])


def shown(values: list[float] | None) -> str:
    if not values:
        return ""
    digits = 2 if statistics.median(values) < 20 else 0
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def judged(figures: Figures) -> Iterator[tuple[bool, str]]:
    api, page, bare = (figures[kind] for kind in KINDS)
    middle: Callable[[list[float]], float] = statistics.median
    later = [1000 * (ours - theirs) for ours, theirs in zip(page["tokens"], bare["tokens"], strict=True)]
    yield (
        middle(later) <= 0,
        (
            f"1500 tokens end no later than in the bare chat: {middle(later):+.0f} ms in pairs "
            f"({min(later):+.0f} to {max(later):+.0f})"
        ),
    )
    added = middle(page["first"]) - middle(api["first"])
    yield added <= 50, f"the page adds at most 50 ms to the first token: {added:+.0f}"
    yield middle(page["idle"]) <= 1.5, "at most 1.5 s of CPU a minute while nobody is there"
    yield middle(page["after"]) <= middle(bare["after"]) + 25, "at most 25 MB more memory than the bare chat"
    yield middle(api["after"]) <= 65, "at most 65 MB without the page"
    yield max(page["health"]) <= 3, "`/health` answers within 3 s"
    yield max(page["leave"]) <= 1000, "the provider is closed within a second"


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    sys.exit(main())
