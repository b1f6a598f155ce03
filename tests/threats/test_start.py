"""S4: who can reach the gateway is decided before it listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .live import TOKEN, live, variables

PLAIN: dict[str, object] = {"ai_gateway_store": "memory", "copilot_editor_login": "0"}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
# The address, and by which way it is set. With `AI_GATEWAY_TOKEN=` too: an empty variable means unset.
OPEN = [
    ("0.0.0.0", "--host"), ("0.0.0.0", "AI_GATEWAY_HOST"), ("0.0.0.0", ".env"), ("", "--host"), ("0", "--host"),
    ("0x0", "AI_GATEWAY_HOST"), ("192.0.2.1", "--host"), ("::", "--host"), ("::ffff:0.0.0.0", ".env"),
]  # fmt: skip


def test_s04_an_address_open_to_others_needs_a_token(tmp_path: Path):
    started = []
    for number, (host, by) in enumerate(OPEN):
        if ":" in host and not has_ipv6():
            continue
        home = tmp_path / str(number)
        home.mkdir()
        settings = {**PLAIN, **({"ai_gateway_token": ""} if number % 2 else {})}
        command = [sys.executable, "-m", "gateway_core", "serve", "--no-ui", "--port", "0"]
        if by == "--host":
            command += ["--host", host]
        elif by == ".env":
            (home / ".env").write_text(f"AI_GATEWAY_HOST={host}\n")
        else:
            settings["ai_gateway_host"] = host
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(
            (host, by, subprocess.Popen(command, env=variables(home, settings), cwd=home, text=True, **pipes))
        )
    for host, by, process in started:
        said, told = process.communicate(timeout=60)

        assert (host, by, process.returncode, said) == (host, by, 2, "")
        assert told.startswith("ai-gateway: AI_GATEWAY_TOKEN: ")
        assert "127.0.0.1" in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", pytest.param("::1", marks=needs_ipv6)])
def test_s04_this_laptop_alone_needs_none_and_nobody_else_gets_in(tmp_path: Path, host: str):
    with live(tmp_path, PLAIN, "--no-ui", "--host", host) as server:
        bound = {line.split()[1].rpartition(":")[0] for line in listening(server.port)}

    assert bound in ({"0100007F"}, {"0200007F"}, {"00000000000000000000000001000000"})


def test_s04_with_a_token_it_may_be_open_and_every_caller_needs_it(tmp_path: Path):
    with live(tmp_path, {**PLAIN, "ai_gateway_token": TOKEN}, "--no-ui", "--host", "0.0.0.0") as server:
        statuses = [
            httpx.get(f"{server.url}/status").status_code,
            httpx.get(f"{server.url}/status", headers={"x-api-key": ""}).status_code,
            httpx.get(f"{server.url}/status", headers=server.headers).status_code,
            httpx.get(f"{server.url}/health").status_code,
            httpx.get(f"{server.url}/health", headers={"host": "0.0.0.0"}).status_code,
        ]

    assert statuses == [401, 401, 200, 200, 403]


def listening(port: int) -> list[str]:
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    lines = [line for table in tables if table.exists() for line in table.read_text("ascii").splitlines()[1:]]
    return [line for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
