"""Words and addresses: what is known of the network, and which addresses it matters for."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = tuple[str, int]


class Connectivity(StrEnum):
    """`ONLINE` is only ever a maybe: a link and a route are there. The other two are sure."""

    ONLINE = "online"
    OFFLINE = "offline"
    PORTAL = "portal"


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as; `None` for a name."""
    try:
        found = ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def is_this_laptop(host: str) -> bool:
    """Loopback, by number or by name. The unspecified address reaches this machine too."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    found = literal(host)
    return found is not None and (found.is_loopback or found.is_unspecified)


# Names that no name server of the internet knows: RFC 6762, RFC 8375, and what ICANN reserved for private use in 2024.
_NEARBY = (".local", ".home.arpa", ".internal")


def is_named_nearby(host: str) -> bool:
    """True for names known in the local network only: of one label (`ollama`, beside a container), `nas.local`."""
    name = host.rstrip(".").lower()
    return literal(host) is None and ("." not in name or name.endswith(_NEARBY))


def is_behind_portals(host: str) -> bool:
    """True for what a login page can stand in front of: names of the internet, and addresses of the wide world."""
    found = literal(host)
    return not is_named_nearby(host) if found is None else found.is_global
