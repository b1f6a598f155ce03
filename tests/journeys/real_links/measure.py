"""How fast the gateway is when the network fails: medians on real links.

    sudo .venv/bin/python -m tests.journeys.real_links.measure [ROUNDS]

Each span begins when the command that changes the link is started, so it holds that command's own milliseconds too.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .test_links import local_asked
from .test_way_there import flows
from .wires import COPILOT, cannot
from .world import World, open_world


def cut_before_a_request(world: World) -> float:
    """link cut, then a request → the local model is asked"""
    world.laptop.ask()
    begun = time.monotonic()
    world.wires.cut()
    world.laptop.ask()
    return local_asked(world, begun)


def cut_in_mid_answer(world: World) -> float:
    """link cut in mid-answer → the local model is asked"""
    world.laptop.ask()
    world.copilot.token_delay = 0.02
    heard = world.laptop.begin()
    heard.until("delta", 20)
    begun = time.monotonic()
    world.wires.cut()
    heard.finish()
    return local_asked(world, begun)


def text_goes_on(world: World) -> float:
    """link cut in mid-answer → the next word on the screen"""
    world.laptop.ask()
    world.copilot.token_delay = 0.02
    heard = world.laptop.begin()
    heard.until("delta", 20)
    begun = time.monotonic()
    world.wires.cut()
    return heard.finish().first_text_of(1) - begun


def carrier_lost(world: World) -> float:
    """carrier lost in mid-answer, address kept → the next word"""
    world.laptop.ask()
    world.copilot.token_delay = 0.05
    heard = world.laptop.begin()
    heard.until("delta", 5)
    begun = time.monotonic()
    world.wires.far("link", "set", "wire1", "down")
    return heard.finish().first_text_of(1) - begun


def link_back(world: World) -> float:
    """link back, then a request → Copilot's first word (look-up, TLS and all)"""
    world.laptop.ask()
    world.wires.cut()
    world.laptop.ask()
    begun = time.monotonic()
    world.wires.mend()
    heard = world.laptop.ask()
    assert heard.backend == "copilot"
    return heard.first_text_of(0) - begun


def login_page(world: World) -> float:
    """login page in the way of both clouds → the local model's first word"""
    world.laptop.ask()
    for cloud in (world.copilot, world.cloud):
        cloud.script(then="html_200", free="html_200")
    heard = world.laptop.ask()
    return heard.first_text_of(0) - heard.begun


def forgotten_connection(world: World) -> float:
    """pooled connection forgotten by a router → Copilot's first word on a fresh one"""
    world.laptop.ask()
    world.wires.filter(f"ip daddr {COPILOT} tcp sport {{ {', '.join(flows(world))} }} drop")
    heard = world.laptop.ask()
    assert heard.backend == "copilot"
    return heard.first_text_of(0) - heard.begun


SPANS: tuple[Callable[[World], float], ...] = (
    cut_before_a_request, cut_in_mid_answer, text_goes_on, carrier_lost, link_back, login_page, forgotten_connection,
)  # fmt: skip


def main() -> int:
    if (why := cannot()) is not None:
        print(why, file=sys.stderr)
        return 2
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {rounds} rounds each")
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as world:
        for span in SPANS:
            taken = []
            for _ in range(rounds):
                world.restore()
                world.build()
                taken.append(span(world) * 1000)
            print(f"{statistics.median(taken):7.0f} ms (most {max(taken):.0f})  {(span.__doc__ or '').strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
