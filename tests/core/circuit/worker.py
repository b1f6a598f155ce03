"""One process of several that share circuits: does what it is told, line by line.

python -m tests.core.circuit.worker PATH|ADDRESS THRESHOLD RECOVERY LEASE
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

from gateway_core.circuit import NEUTRAL, SUCCESS, CircuitPolicy, End, Outcome, Permit, admit, record
from gateway_core.circuit.redis import RedisStore
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.clock import SystemClock
from gateway_core.types import Reason

TIER = "copilot"
ENDS = {"success": SUCCESS, "neutral": NEUTRAL, "failure": Outcome(End.FAILURE, Reason.UPSTREAM_5XX)}


class Worker:
    def __init__(self, path: str, threshold: str, recovery: str, lease: str) -> None:
        self.clock = SystemClock()
        # Patient: these tests ask whether the store keeps its promise, not what happens when it cannot be had.
        self.store = (
            RedisStore(path, self.clock, patience=20.0)
            if path.startswith("unix:")
            else SqliteStore(Path(path), self.clock, patience=20.0)
        )
        self.policy = CircuitPolicy(int(threshold), float(recovery), float(lease))
        self.permit: Permit | None = None

    async def admit(self) -> str:
        permit = await self.store.update(TIER, lambda circuit: admit(circuit, self.policy, self.clock.span()))
        self.permit = permit
        return "kept away" if permit is None else "probe" if permit.is_probe else "call"

    async def end(self, how: str) -> str:
        permit = self.permit
        assert permit is not None
        await self.store.update(
            TIER, lambda circuit: (record(circuit, permit, ENDS[how], self.policy, self.clock.span()), None)
        )
        return (await self.store.read(TIER)).state.value

    async def state(self) -> str:
        return (await self.store.read(TIER)).shown(self.clock.span()).value

    async def wait(self) -> str:
        """Until the present wait or lease is over."""
        await asyncio.sleep((await self.store.read(TIER)).remaining(self.clock.span()))
        return "over"

    async def storm(self, times: str) -> str:
        """Ask many times; say how often the answer was a probe."""
        return str([await self.admit() for _ in range(int(times))].count("probe"))

    async def fork(self) -> str:
        """A child forked off in mid-use and this process both write; say whether both were heard."""
        for _ in range(3):
            await self.admit()
            await self.end("failure")
        before = (await self.store.read(TIER)).failures
        if (child := os.fork()) == 0:
            asyncio.events._set_running_loop(None)  # the child has its own loop

            async def fail_once() -> None:
                await self.admit()
                await self.end("failure")

            asyncio.new_event_loop().run_until_complete(fail_once())
            os._exit(0)
        status = os.waitpid(child, 0)[1]  # noqa: ASYNC222 - nothing else runs here
        await self.admit()
        await self.end("failure")
        return f"{status} {(await self.store.read(TIER)).failures - before} {self.store.trouble}"

    async def forks(self) -> str:
        """Another thread forks again and again while this one writes; say what became of it."""
        done = threading.Event()

        def fork_often() -> None:
            while not done.is_set():
                if (child := os.fork()) == 0:
                    os._exit(0)
                os.waitpid(child, 0)

        forking = threading.Thread(target=fork_often)
        forking.start()
        for _ in range(300):
            await self.admit()
            await self.end("failure")
            await asyncio.sleep(0)
        done.set()
        forking.join()
        return f"{(await self.store.read(TIER)).failures} {self.store.trouble}"


async def main() -> None:
    worker = Worker(*sys.argv[1:])
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *rest = line.split()
        print(await getattr(worker, verb)(*rest), flush=True)
    await worker.store.aclose()


if __name__ == "__main__":
    asyncio.run(main())
