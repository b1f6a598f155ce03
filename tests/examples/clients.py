"""The examples, each made ready to run with its own tool chain."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.environments import ROOT, environment
from tests.missing import needs

EXAMPLES = ROOT / "examples"
# As the run was started: tests have an empty home, and Go would build its library anew in it.
_OUTSIDE = dict(os.environ)
_DEAD_PROXY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Told:
    """What a program left behind."""

    out: str
    err: str
    code: int


@dataclass(frozen=True)
class Client:
    """An example that can be run. Proxies are set everywhere, and must not be asked for loopback."""

    name: str
    command: tuple[str, ...]

    def __call__(self, url: str, *arguments: str, folder: Path | None = None, **variables: str) -> Told:
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), _DEAD_PROXY)
        given = {"AI_GATEWAY_URL": url, **proxies, "NODE_USE_ENV_PROXY": "1", "LANG": "C.UTF-8", **variables}
        given |= {name: _OUTSIDE[name] for name in ("PATH", "HOME") if name in _OUTSIDE}
        command = [*self.command, *arguments]
        done = subprocess.run(command, env=given, cwd=folder, capture_output=True, timeout=60)
        return Told(done.stdout.decode(), done.stderr.decode(), done.returncode)


def python(built: Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / "client.py")]


def node(built: Path) -> list[str]:
    return [needs("node"), str(EXAMPLES / "client.mjs")]


def bash(built: Path) -> list[str]:
    needs("curl")
    return [needs("bash"), str(EXAMPLES / "curl.sh")]


def go(built: Path) -> list[str]:
    compiled("go", "build", "-o", built / "client", EXAMPLES / "client.go", GOPROXY="off", GOTOOLCHAIN="local")
    return [str(built / "client")]


def java(built: Path) -> list[str]:
    compiled("javac", "--release", "11", "-Xlint:all,-serial", "-Werror", "-d", built, EXAMPLES / "Client.java")
    return [needs("java"), *QUICK_START, "-cp", str(built), "Client"]


def csharp(built: Path) -> list[str]:
    """By Mono's compiler against the assemblies of a real .NET runtime, which then runs it."""
    needs("mcs")
    (runtime,) = environment("dotnet").parent.glob("lib/python*/site-packages/dotnetcore2/bin")
    (framework,) = runtime.glob("shared/Microsoft.NETCore.App/*")
    references = [f"-r:{assembly}" for assembly in sorted(framework.glob("System.*.dll"))]
    options = ["-nostdlib", "-noconfig", "-langversion:latest", "-warnaserror", f"-out:{built / 'Client.dll'}"]
    compiled("mcs", *options, *references, EXAMPLES / "Client.cs")
    settings = {
        "framework": {"name": "Microsoft.NETCore.App", "version": framework.name},
        "configProperties": {"System.Globalization.Invariant": True},  # this runtime is older than today's ICU
    }
    (built / "Client.runtimeconfig.json").write_text(json.dumps({"runtimeOptions": settings}))
    dotnet = runtime / "dotnet"
    dotnet.chmod(0o755)
    return [str(dotnet), str(built / "Client.dll")]


QUICK_START = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
Recipe = Callable[[Path], Iterable[str]]
LANGUAGES = [
    pytest.param(python, id="python"),
    pytest.param(node, id="node"),
    pytest.param(bash, id="bash"),
    pytest.param(go, id="go", marks=pytest.mark.slow),
    pytest.param(java, id="java", marks=pytest.mark.slow),
    pytest.param(csharp, id="csharp", marks=pytest.mark.slow),
]


def ready(recipe: Recipe, folder: Path) -> Client:
    """The example, built in `folder` by whichever worker of the test run comes first."""
    built = folder / recipe.__name__
    built.mkdir(exist_ok=True)
    with (folder / f"{recipe.__name__}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = built / "command.json"
        if not command.exists():
            command.write_text(json.dumps(list(recipe(built))))
    return Client(recipe.__name__, tuple(json.loads(command.read_text())))


def compiled(name: str, *arguments: str | Path, **variables: str) -> None:
    command = [needs(name), *map(str, arguments)]
    done = subprocess.run(command, env={**_OUTSIDE, **variables}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
