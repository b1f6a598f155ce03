"""S2: a foreign name that leads to this laptop. Raw bytes, because every client mends what it sends."""

from __future__ import annotations

import pytest

from .live import Live

FOREIGN = [
    "evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example:{port}",
    "127.0.0.1.nip.example", "127.0.0.1:evil", "127.0.0.1:{port}:{port}", "127.0.0.1:", "127.0.0.1:99999",
    "127.0.0.1:-1", "127.0.0.1:0x1f90", "127.0.0.1:{port}@evil.example", "localhost@evil.example",
    "evil.example@localhost", "evil.example#@127.0.0.1", "evil.example\\@127.0.0.1", "evil.example?127.0.0.1",
    "127.1", "127.0.1", "127.0.0.2", "2130706433", "0x7f.0.0.1", "0x7f000001", "017700000001", "0177.0.0.1",
    "127.000.000.001",
    "0.0.0.0:{port}", "0", "[::]", "[::]:{port}", "[evil]", "[::1", "::1", "::1:{port}", "[::1].:80",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1%25lo]", "[::1%lo]", "[[::1]]", "localhost evil", "localhost/evil",
    "localhost#", "local\u212aost", "\uff4cocalhost", "l\u043ecalhost", "xn--localhost", "127.0.0.1..", ".localhost",
    "evil.localhost", "localhost,evil.example", "127.0.0.1 127.0.0.1", "%6c%6f%63alhost", "*", "null", "",
]  # fmt: skip
OWN = [
    "127.0.0.1:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:{port}", "LOCALHOST:{port}", "LocalHost", "localhost.",
    "localhost.:{port}", "127.0.0.1.", "[::1]", "[::1]:{port}",
]  # fmt: skip


def head(server: Live, method: str, target: str, *hosts: str) -> bytes:
    lines = "".join(f"Host: {host}\r\n" for host in hosts).replace("{port}", str(server.port))
    return f"{method} {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()


@pytest.mark.parametrize("host", FOREIGN)
def test_s02_a_foreign_host_gets_nothing(server: Live, host: str):
    asked = [head(server, "GET", path, host) for path in ("/", "/health", "/status", "/ui/", "/nothing")]
    asked.append(head(server, "POST", "/admin/reset", host))
    statuses = {said.status for request in asked for said in server.say(request)}

    assert statuses <= {400, 403}
    assert statuses


@pytest.mark.parametrize("host", OWN)
def test_s02_our_own_names_are_served_in_every_spelling(server: Live, host: str):
    (said,) = server.say(head(server, "GET", "/health", host))

    assert said.status == 200


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        pytest.param("/health", ["127.0.0.1", "evil.example"], id="a foreign one after ours"),
        pytest.param("/health", ["evil.example", "127.0.0.1"], id="ours after a foreign one"),
        pytest.param("/health", ["127.0.0.1", "127.0.0.1"], id="ours twice"),
        pytest.param("/health", [], id="none"),
        pytest.param("http://evil.example/health", ["127.0.0.1"], id="a foreign one in the target"),
        pytest.param("http://evil.example/health", ["evil.example"], id="a foreign one in both"),
        pytest.param("http://127.0.0.1@evil.example/health", ["127.0.0.1"], id="a user name like ours in the target"),
        pytest.param("http://127.0.0.1/health", ["evil.example"], id="ours in the target only"),
        pytest.param("HTTP://EVIL.EXAMPLE?/health", ["127.0.0.1"], id="a foreign one before a query"),
        pytest.param("//evil.example/health", ["evil.example"], id="a foreign one without a scheme"),
    ],
)
def test_s02_exactly_one_host_counts(server: Live, target: str, hosts: list[str]):
    (said,) = server.say(head(server, "GET", target, *hosts))

    assert said.status in (400, 403)


def test_s02_a_target_with_our_own_name_is_served(server: Live):
    own = f"127.0.0.1:{server.port}"
    (said,) = server.say(head(server, "GET", f"http://{own}/health", own))

    assert said.status == 200


def test_s02_a_host_after_the_body_is_none(server: Live):
    """Fields that follow a body in pieces are not those of the head: neither to open a door nor to close one."""
    statuses = []
    for before, after in (("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1")):
        request = (
            f"POST /admin/reset HTTP/1.1\r\nHost: {before}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            f"0\r\nHost: {after}\r\n\r\n"
        )
        statuses += [said.status for said in server.say(request.encode())]

    assert statuses == [200, 403]
