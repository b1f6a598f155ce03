"""A gate on the machine's real network (a namespace's, in the tests). One line for each thing it says.

    python -m tests.core.connectivity.inside

Lines are `moment what` with moments of the monotonic clock, which all processes of a machine share. A line on
standard input is a question: `HOST` or `state`.
"""

from __future__ import annotations

import asyncio
import sys
import time

from gateway_core.clock import SystemClock
from gateway_core.connectivity import ConnectivityGate

CLOUD = ("api.example.com", 443)


def say(what: object) -> None:
    print(f"{time.monotonic()} {what}", flush=True)


async def main() -> None:
    gate = ConnectivityGate(SystemClock())
    gate.listen(lambda old, new: say(new.value))
    gate.on_resumed(lambda gap: say(f"resumed after {gap:.0f}"))
    await gate.start()

    def arm() -> None:
        gate.on_cut(CLOUD, lambda: say("cut"))

    loop, questions = asyncio.get_running_loop(), asyncio.Queue[str]()
    loop.add_reader(sys.stdin.fileno(), lambda: questions.put_nowait(sys.stdin.readline().strip()))
    say(f"ready {gate.state.value} {'netlink' if gate.watches_links else 'poll'}")
    while question := await questions.get():
        match question:
            case "state":
                say(gate.state.value)
            case "epoch":
                say(gate.epoch)
            case "arm":
                arm()
                say("armed")
            case host:
                say(gate.blocked((host, 443)))
    await gate.aclose()


if __name__ == "__main__":
    asyncio.run(main())
