"""How the kernel's answers are read."""

from __future__ import annotations

import errno
import socket
import struct
import sys

import pytest

from gateway_core.connectivity.way import NoEvents, SystemWay, system_events, system_way

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


class ScriptedCarrier:
    def __init__(self) -> None:
        self.lost: set[int] = set()

    def interface_to(self, family: socket.AddressFamily, host: str) -> int | None:
        return 7

    def is_lost(self, interface: int) -> bool:
        return interface in self.lost

    def close(self) -> None:
        return


class Kernel:
    """Stands in for the kernel's routes: by family our own address, or the error that connecting gives."""

    def __init__(self, errors: dict[int, int] | None = None) -> None:
        self.errors = errors or {}
        self.refused: set[str] = set()
        self.sources: dict[int, str] = {socket.AF_INET: "192.168.1.5", socket.AF_INET6: "fd00::5"}
        self.asked: list[str] = []

    def source(self, family: socket.AddressFamily, host: str) -> str:
        self.asked.append(host)
        if family in self.errors or host in self.refused:
            raise OSError(self.errors.get(family, errno.EHOSTUNREACH), "scripted")
        return self.sources[family]


def way_of(kernel: Kernel, carrier: ScriptedCarrier | None = None) -> SystemWay:
    return SystemWay(carrier, source=kernel.source)


V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("errors", "online"),
    [
        pytest.param({}, True, id="both families have a route"),
        pytest.param({V6: errno.ENETUNREACH}, True, id="only IPv4"),
        pytest.param({V4: errno.ENETUNREACH}, True, id="only IPv6"),
        pytest.param({V4: errno.ENETUNREACH, V6: errno.EAFNOSUPPORT}, False, id="no route, and no IPv6 at all"),
        pytest.param({V4: errno.ENETDOWN, V6: errno.EADDRNOTAVAIL}, False, id="no link, no address"),
        pytest.param({V4: errno.EHOSTUNREACH, V6: errno.EHOSTUNREACH}, False, id="routes that refuse"),
        pytest.param({V4: errno.EMFILE, V6: errno.EMFILE}, True, id="f89: no descriptors left says nothing"),
        pytest.param({V4: errno.EPERM, V6: errno.ENETUNREACH}, True, id="a firewall's veto says nothing"),
    ],
)
def test_surely_offline_or_maybe_online(errors: dict[int, int], online: bool) -> None:
    assert (way_of(Kernel(errors)).out() is not None) == online


def test_a_machine_that_refuses_documentation_addresses_is_not_offline() -> None:
    kernel = Kernel()
    kernel.refused = {"192.0.2.1", "2001:db8::1"}
    assert way_of(kernel).out() is not None


def test_another_address_of_ours_is_another_way_out() -> None:
    kernel = Kernel()
    before = way_of(kernel).out()
    assert way_of(kernel).out() == before
    kernel.sources[V4] = "10.8.0.2"
    assert way_of(kernel).out() != before


def test_f39_a_route_through_a_dead_link_is_no_way() -> None:
    carrier = ScriptedCarrier()
    way = way_of(Kernel(), carrier)
    assert way.out() is not None
    carrier.lost.add(7)
    assert way.out() is None
    assert not way.leads_to("93.184.216.34")


@pytest.mark.parametrize(("host", "asked"), [("93.184.216.34", "93.184.216.34"), ("[2606:4700::1]", "2606:4700::1")])
def test_a_literal_address_is_asked_for_itself(host: str, asked: str) -> None:
    kernel = Kernel()
    assert way_of(kernel).leads_to(host)
    assert kernel.asked == [asked]


def test_loopback_has_a_way_on_the_real_kernel() -> None:
    way = system_way()
    assert way.leads_to("127.0.0.1")
    way.close()


async def test_where_there_is_no_netlink_nothing_is_told() -> None:
    assert not NoEvents().open(lambda: None)


@linux_only
async def test_netlink_events_open_or_say_that_they_cannot() -> None:
    events = system_events()
    assert events.open(lambda: None) in (True, False)
    events.close()
    events.close()


@linux_only
async def test_without_permission_for_netlink_the_gate_polls_and_knows_nothing_of_carriers() -> None:
    from gateway_core.connectivity.netlink import KernelCarrier, NetlinkEvents

    def refused(groups: int = 0) -> socket.socket:
        raise PermissionError(errno.EPERM, "scripted")

    assert not NetlinkEvents(refused).open(lambda: None)
    carrier = KernelCarrier(refused)
    assert carrier.interface_to(socket.AF_INET, "127.0.0.1") is None
    assert not carrier.is_lost(1)


@linux_only
def test_the_kernel_names_the_loopback_interface_and_its_carrier() -> None:
    from gateway_core.connectivity.netlink import KernelCarrier

    carrier = KernelCarrier()
    interface = carrier.interface_to(socket.AF_INET, "127.0.0.1")
    assert interface == socket.if_nametoindex("lo")
    assert not carrier.is_lost(interface)
    carrier.close()


@linux_only
@pytest.mark.parametrize(
    "torn", [b"", b"\x00", b"\xff" * 16, struct.pack("=IHHII", 4, 16, 0, 0, 0), struct.pack("=IHHII", 400, 16, 0, 0, 0)]
)
def test_torn_messages_are_no_messages(torn: bytes) -> None:
    from gateway_core.connectivity.netlink import messages

    assert list(messages(torn)) == []


@linux_only
def test_a_torn_attribute_ends_the_list() -> None:
    from gateway_core.connectivity.netlink import attribute, attributes

    assert attributes(attribute(4, b"\x07\x00\x00\x00") + b"\xff\xff\x01\x00") == {4: b"\x07\x00\x00\x00"}
