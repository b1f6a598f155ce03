"""Runs an image as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` does, without Docker.

Own namespaces for mounts, processes and network; the root file system read-only, /tmp a tmpfs, volumes bound; the
image's user without any right beyond its own, the image's environment, entry point and command; process 1 is the
entry point. All of it ends when this process does, however that ends.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .images import Image, Images

UID = 10001
_BARE = f"--reuid {UID} --regid {UID} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all".split()
_PATIENCE = 90.0

# One request as the host would make it, from inside the container's network: the arguments as JSON, the reply as JSON.
_CALL = """
import http.client, json, sys
asked = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
connection.request(asked["method"], asked["path"], asked["body"], asked["headers"])
reply = connection.getresponse()
json.dump({"status": reply.status, "headers": dict(reply.getheaders()), "text": reply.read().decode()}, sys.stdout)
"""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Container:
    """One start of an image. `output` is what it printed, both streams."""

    def __init__(
        self, image: Image, process: subprocess.Popen[bytes], log: Path, environment: Mapping[str, str]
    ) -> None:
        self._image = image
        self._process = process
        self._log = log
        self._environment = environment

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Process 1 of the container, as the host numbers it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def wait_for(self, words: str) -> None:
        until = time.monotonic() + _PATIENCE
        while words not in self.output:
            is_waiting = self._process.poll() is None and time.monotonic() < until
            assert is_waiting, f"it never said {words!r}:\n{self.output}"
            time.sleep(0.05)

    def wait(self, limit: float = _PATIENCE) -> int:
        """Its exit code; -15 and 143 both mean: ended by SIGTERM."""
        return self._process.wait(limit)

    def stop(self) -> int:
        """As `docker stop` asks at first."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(30)

    def kill(self) -> None:
        self._process.kill()  # and process 1 with it, and so everything in the container
        self._process.wait(30)

    def exec(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` does: the same user, rights and environment, not through the entry point."""
        into = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--wd"]
        inside = _as_user({**self._environment, **environment}, command)
        return subprocess.run([*into, *inside], capture_output=True, text=True, timeout=60)

    def call(self, path: str, body: object = None, **headers: str) -> Reply:
        """A request to the published port; POST if there is a body. Underscores in header names are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["content-type"] = "application/json"
        asked = {
            "method": "GET" if body is None else "POST",
            "path": path,
            "body": None if body is None else json.dumps(body),
            "headers": sent,
        }
        command = ["nsenter", "--target", str(self.pid), "--net", sys.executable, "-c", _CALL]
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr + self.output
        return Reply(**json.loads(done.stdout))

    @contextmanager
    def beside(self, *command: str) -> Iterator[None]:
        """A program of the host's in the container's network, from its first line on; it ends with its input."""
        into = ["nsenter", "--target", str(self.pid), "--net"]
        with subprocess.Popen([*into, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            try:
                yield
            finally:
                process.stdin.close()
                process.wait(20)


@contextmanager
def running(
    images: Images, image: Image, folder: Path, *command: str, names: Sequence[str] = (), **environment: str
) -> Iterator[Container]:
    """Start it with `folder` as its volume; `names` are further names of its own address, as a compose network has."""
    given = dict(pair.split("=", 1) for pair in image.config["Env"])
    variables = {**given, "HOME": "/nonexistent", "HOSTNAME": "0123456789ab", **environment}
    hosts = folder.with_name(f"{folder.name}.hosts")
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *names)))
    inside = _as_user(variables, [*image.config["Entrypoint"], *(command or image.config["Cmd"])])
    (volume,) = image.config["Volumes"]
    steps = f"""
        set -e
        root=$({images.mounting(images.container(image))})
        mount --bind "$root" "$root"
        mount --bind {shlex.quote(str(folder))} "$root{volume}"
        mount --bind {shlex.quote(str(hosts))} "$root/etc/hosts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t tmpfs -o mode=755 tmpfs "$root/dev"
        for device in null zero random urandom; do
            touch "$root/dev/$device"
            mount --bind "/dev/$device" "$root/dev/$device"
        done
        mount -t proc proc "$root/proc"
        mount -o remount,bind,ro "$root"
        ip link set lo up
        exec chroot "$root" /bin/sh -c 'cd {image.config["WorkingDir"]} && exec "$@"' sh {shlex.join(inside)}
    """
    own = ["--mount", "--propagation", "private", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *own, "sh", "-c", steps], stdout=output, stderr=output
        )
    container = Container(image, process, log, variables)
    try:
        yield container
    finally:
        container.kill()


def _as_user(environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    """The user's rights are taken inside, by the image's own setpriv, for the program's death with its parent."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["/usr/bin/setpriv", *_BARE, "--pdeathsig", "KILL", "/usr/bin/env", "-i", *variables, *command]
