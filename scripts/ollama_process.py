"""The Ollama of this computer: where the gateway looks for it, whether it answers, start and stop it.

usage: python scripts/ollama_process.py look | start PROGRAM --log FILE --pid FILE | stop --pid FILE

`look` prints `HOST:PORT answers`, `HOST:PORT silent`, or `elsewhere` when OLLAMA_BASE_URL leads to another computer.
Ollama is started with an environment of its own: PATH, HOME and its own OLLAMA_ variables, never keys or tokens; and
always on loopback.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from gateway_core.errors import SettingsInvalid
from gateway_core.settings import Settings, is_loopback

KEPT = ("PATH", "HOME")
KEPT_ON_WINDOWS = ("SYSTEMROOT", "USERPROFILE", "LOCALAPPDATA", "APPDATA", "TEMP", "TMP", "PATHEXT", "COMSPEC")
NOT_ITS_OWN = ("OLLAMA_BASE_URL", "OLLAMA_DOWNLOAD_URL", "OLLAMA_HOST")  # the gateway's, ours, and set below
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
STARTS_WITHIN = 30.0
STOPS_WITHIN = 10.0


def address(url: str) -> str | None:
    """HOST:PORT of an Ollama on this computer, None for one elsewhere."""
    return urlsplit(url).netloc if is_loopback(url) else None


def answers(url: str) -> bool:
    """True when it is Ollama that listens there."""
    try:
        reply = httpx.get(f"{url}/api/version", timeout=3, trust_env=False)
        return reply.status_code == 200 and "version" in reply.json()
    except (httpx.HTTPError, ValueError):
        return False


def clean_environment(given: Mapping[str, str], at: str, platform: str = sys.platform) -> dict[str, str]:
    """What Ollama is started with: its own variables and where to find programs and the home folder."""
    kept = KEPT + (KEPT_ON_WINDOWS if platform == "win32" else ())
    clean = {name: value for name, value in given.items() if name.upper() in kept or _is_its_own(name)}
    return {**clean, "OLLAMA_HOST": at}


def _is_its_own(name: str) -> bool:
    return name.startswith("OLLAMA_") and name not in NOT_ITS_OWN and not any(word in name for word in SECRET)


def start(program: str, url: str, log: Path, pid_file: Path) -> str | None:
    """Start it and wait until it answers. Returns what went wrong, else None."""
    at = address(url)
    assert at is not None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [program, "serve"],
            env=clean_environment(os.environ, at),
            cwd=Path.home(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # the end of the terminal is not its end
        )
    pid_file.write_text(f"{child.pid}\n")
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if answers(url):
            return None
        if (status := child.poll()) is not None:
            pid_file.unlink()
            return f"it ended at once with status {status}"
        time.sleep(0.1)
    return f"it does not answer at {url} within {STARTS_WITHIN:g} s"


def stop(pid_file: Path) -> None:
    """Stop what `start` started, when it still runs; another program that got its number since is left alone."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    until = time.monotonic() + STOPS_WITHIN
    while _is_ollama(pid):
        os.kill(pid, signal.SIGTERM if time.monotonic() < until else getattr(signal, "SIGKILL", signal.SIGTERM))
        time.sleep(0.2)
    pid_file.unlink()


def _is_ollama(pid: int) -> bool:
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
        except OSError:
            return False
    else:
        look = (
            ["tasklist", "/FI", f"PID eq {pid}"] if sys.platform == "win32" else ["ps", "-o", "args=", "-p", str(pid)]
        )
        words = subprocess.run(look, capture_output=True, text=True).stdout
    return "ollama" in words


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("look")
    starting = actions.add_parser("start")
    starting.add_argument("program")
    starting.add_argument("--log", type=Path, required=True)
    stopping = actions.add_parser("stop")
    for parser_with_pid in (starting, stopping):
        parser_with_pid.add_argument("--pid", type=Path, required=True)
    options = parser.parse_args()
    if options.action == "stop":
        stop(options.pid)
        return 0
    try:
        url = Settings.load().ollama_base_url
    except SettingsInvalid as fault:
        print(fault, file=sys.stderr)
        return 2
    if options.action == "look":
        at = address(url)
        print(f"{at} {'answers' if answers(url) else 'silent'}" if at else "elsewhere")
        return 0
    fault_in_words = start(options.program, url, options.log, options.pid)
    if fault_in_words:
        print(f"Ollama: {fault_in_words}.", file=sys.stderr)
    return 1 if fault_in_words else 0


if __name__ == "__main__":
    sys.exit(main())
