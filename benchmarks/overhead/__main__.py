"""CPU time of one request: our server, beside a bare proxy made of the same libraries. Linux.

    python -m benchmarks.overhead [--requests 300] [--rounds 3]

One client, one request after the other, 60 words from a simulated provider without delay. CPU time of the server's
process, the median of the rounds; wall times on a busy machine say little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.processes import address_in, answers, free_port, started, when_ready
from gateway_core.testing.simulators import DEFAULT_ANSWER, OpenAISimulator

KEY = "sk-simulated"
WAYS = {"one piece": False, "stream": True}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, OpenAISimulator() as simulator:
        servers = {"bare proxy": bare, "AI Gateway": ours}
        costs = {}
        for name, start in servers.items():
            home = Path(folder) / name.replace(" ", "-")
            home.mkdir()
            with start(home, simulator) as (process, url):
                for way, stream in WAYS.items():
                    costs[name, way] = measure(process, url, stream, chosen.requests, chosen.rounds)
    print("| A request | bare proxy | AI Gateway | ratio |\n|---|---|---|---|")
    for way in WAYS:
        least, own = costs["bare proxy", way], costs["AI Gateway", way]
        ratio = f"{own / least:.1f}" if least else "-"  # too few requests to see
        print(f"| {way} | {least:.2f} ms | {own:.2f} ms | {ratio} |")
    return 0


def measure(process: int, url: str, stream: bool, requests: int, rounds: int) -> float:
    """CPU milliseconds a request."""
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Tell me."}]}
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=60) as client:

        def ask() -> None:
            reply = client.post("/v1/chat/completions", json=body).raise_for_status()
            assert DEFAULT_ANSWER.split()[-1] in reply.text

        for _ in range(20):
            ask()
        costs = []
        for _ in range(rounds):
            before = cpu_seconds(process)
            for _ in range(requests):
                ask()
            costs.append(1000 * (cpu_seconds(process) - before) / requests)
    return statistics.median(costs)


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def bare(folder: Path, simulator: OpenAISimulator) -> Iterator[tuple[int, str]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.overhead.bare", simulator.url, str(port)]
    settings = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with started(command, folder, settings) as (process, log):
        url = f"http://127.0.0.1:{port}"
        when_ready(process, log, lambda: answers(f"{url}/_sim/calls"))
        yield process.pid, url


@contextmanager
def ours(folder: Path, simulator: OpenAISimulator) -> Iterator[tuple[int, str]]:
    settings = {
        "CLOUD_PROVIDER": "openai",
        "OPENAI_BASE_URL": simulator.base_url,
        "OPENAI_API_KEY": KEY,
        "COPILOT_USE_GH": "0",
        "AI_GATEWAY_STATE_DIR": str(folder / "state"),
    }
    command = [sys.executable, "-m", "gateway_core", "serve", "--port", "0", "--no-ui"]
    with started(command, folder, settings) as (process, log):
        yield process.pid, when_ready(process, log, lambda: address_in(log))


if __name__ == "__main__":
    sys.exit(main())
