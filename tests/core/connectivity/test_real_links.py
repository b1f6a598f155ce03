"""The gate on real links between network namespaces: a laptop with one cable, and the other end of it.

Needs root and `ip` (Debian: iproute2); skipped, with the reason, where namespaces are not allowed. Time limits are
three times what is promised.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.missing import needs

GUARD = 30.0
_numbers = itertools.count()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@dataclass
class Laptop:
    """A namespace with one cable (`wire0`), the namespace at the other end, and a gate that runs in the first."""

    name: str
    gate: subprocess.Popen[str] | None = None
    said: queue.Queue[tuple[float, str]] = field(default_factory=queue.Queue)

    def ip(self, *arguments: str) -> float:
        """Change something; the moment when it was done."""
        run("ip", "-n", self.name, *arguments)
        return time.monotonic()

    def far_end(self, *arguments: str) -> float:
        run("ip", "-n", self.name + "-far", *arguments)
        return time.monotonic()

    def start_gate(self) -> None:
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "tests.core.connectivity.inside"]
        self.gate = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, args=(self.gate,), daemon=True).start()

    def _listen(self, gate: subprocess.Popen[str]) -> None:
        assert gate.stdout is not None
        for line in gate.stdout:
            moment, _, what = line.strip().partition(" ")
            self.said.put((float(moment), what))

    def hears(self, what: str, within: float = GUARD) -> float:
        """The moment at which the gate says this."""
        until = time.monotonic() + within
        while True:
            moment, said = self.said.get(timeout=max(0.001, until - time.monotonic()))
            if said == what:
                return moment

    def ask(self, question: str) -> str:
        assert self.gate is not None
        assert self.gate.stdin is not None
        while not self.said.empty():
            self.said.get()
        self.gate.stdin.write(question + "\n")
        self.gate.stdin.flush()
        return self.said.get(timeout=GUARD)[1]

    def build(self) -> None:
        for namespace in (self.name, self.name + "-far"):
            run("ip", "netns", "add", namespace)
        run("ip", "-n", self.name, "link", "add", "wire0", "type", "veth", "peer", "name", "wire1",
            "netns", self.name + "-far")  # fmt: skip
        self.ip("link", "set", "lo", "up")
        self.far_end("address", "add", "10.77.0.1/24", "dev", "wire1")
        self.far_end("link", "set", "wire1", "up")
        self.ip("link", "set", "wire0", "up")
        self.give_address()

    def give_address(self) -> None:
        self.ip("address", "add", "10.77.0.2/24", "dev", "wire0")
        self.ip("route", "add", "default", "via", "10.77.0.1")

    def destroy(self) -> None:
        if self.gate is not None:
            self.gate.kill()
            self.gate.wait(GUARD)
            for pipe in (self.gate.stdin, self.gate.stdout):
                assert pipe is not None
                pipe.close()
        for namespace in (self.name, self.name + "-far"):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def cannot() -> str | None:
    """Why namespaces cannot be used here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux to make network namespaces"
    return None


@pytest.fixture
def laptop() -> Iterator[Laptop]:
    needs("ip")
    if (why := cannot()) is not None:
        pytest.skip(why)
    made = Laptop(f"gate{os.getpid()}n{next(_numbers)}")
    try:
        made.build()
    except subprocess.CalledProcessError as exc:
        made.destroy()
        pytest.skip(f"network namespaces are not allowed here: {exc.stderr.strip()}")
    try:
        made.start_gate()
        made.hears("ready online netlink")
        yield made
    finally:
        made.destroy()


def test_f36_the_link_is_cut_and_the_gate_knows_within_50_ms(laptop: Laptop) -> None:
    cut = laptop.ip("link", "set", "wire0", "down")
    assert laptop.hears("offline") - cut < 3 * 0.05
    assert laptop.ask("api.example.com") == "offline"
    assert laptop.ask("127.0.0.1") == "None"


def test_f37_a_running_call_is_told_of_the_cut_within_50_ms(laptop: Laptop) -> None:
    assert laptop.ask("arm") == "armed"
    cut = laptop.ip("link", "set", "wire0", "down")
    assert laptop.hears("cut") - cut < 3 * 0.05


def test_f39_the_carrier_is_lost_and_the_gate_knows_though_address_and_route_are_kept(laptop: Laptop) -> None:
    cut = laptop.far_end("link", "set", "wire1", "down")
    assert laptop.hears("offline") - cut < 3 * 1.2
    laptop.far_end("link", "set", "wire1", "up")
    laptop.hears("online")


@pytest.mark.parametrize("change", ["address", "route"])
def test_f36_address_or_route_are_gone_and_the_gate_knows_within_50_ms(laptop: Laptop, change: str) -> None:
    gone = {
        "address": ("address", "delete", "10.77.0.2/24", "dev", "wire0"),
        "route": ("route", "delete", "default"),
    }
    cut = laptop.ip(*gone[change])
    assert laptop.hears("offline") - cut < 3 * 0.05
    is_near = "None" if change == "route" else "offline"
    assert laptop.ask("10.77.0.1") == is_near, "a neighbour by number can be reached without a way out"


def test_f40_the_link_is_back_and_the_very_next_request_may_go(laptop: Laptop) -> None:
    before = int(laptop.ask("epoch"))
    laptop.ip("link", "set", "wire0", "down")
    laptop.hears("offline")
    laptop.ip("link", "set", "wire0", "up")
    back = laptop.ip("route", "add", "default", "via", "10.77.0.1")
    assert laptop.hears("online") - back < 3 * 0.05
    assert laptop.ask("api.example.com") == "None"
    assert int(laptop.ask("epoch")) >= before + 2


def test_f41_a_vpn_comes_up_and_old_connections_are_old_though_nothing_was_cut(laptop: Laptop) -> None:
    before = int(laptop.ask("epoch"))
    laptop.ip("address", "add", "10.99.0.2/32", "dev", "lo")
    assert int(laptop.ask("epoch")) == before, "an address that nothing leads through changes nothing"
    laptop.ip("route", "replace", "default", "via", "10.77.0.1", "src", "10.99.0.2")
    assert int(laptop.ask("epoch")) == before + 1
    assert laptop.ask("state") == "online"


def test_with_ipv6_alone_the_laptop_is_not_offline(laptop: Laptop) -> None:
    for end, number, side in ((laptop.ip, 2, "wire0"), (laptop.far_end, 1, "wire1")):
        end("address", "add", f"fd77::{number}/64", "dev", side, "nodad")
    laptop.ip("-6", "route", "add", "default", "via", "fd77::1")
    laptop.ip("address", "delete", "10.77.0.2/24", "dev", "wire0")
    assert laptop.ask("state") == "online"
    laptop.ip("-6", "route", "delete", "default")
    assert laptop.ask("state") == "offline"


@pytest.mark.slow
def test_f69_a_stopped_process_says_so_when_it_goes_on(laptop: Laptop) -> None:
    assert laptop.gate is not None
    laptop.gate.send_signal(signal.SIGSTOP)
    time.sleep(8.0)  # more than the smallest gap, whatever the heartbeat's phase
    going_on = time.monotonic()
    laptop.gate.send_signal(signal.SIGCONT)
    while not (said := laptop.said.get(timeout=GUARD))[1].startswith("resumed after"):
        pass
    assert said[0] - going_on < 3 * 1.0
