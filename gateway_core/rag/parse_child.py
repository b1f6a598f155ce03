"""The child process in which foreign files are opened.

It reads one job from standard input (a line of JSON, then the bytes) and writes one JSON object to standard output.
Before it looks at the file it gives up what it will not need: memory beyond the limit, the network, other programs,
writing files. Whatever a file does to its reader happens here and to nobody else.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from .errors import DocumentUnreadable
from .formats.parsed import Parsed, Unreadable
from .guard import LoadLimits, decoded

_FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.", "os.system", "os.exec", "os.fork",
              "os.spawn", "os.posix_spawn", "os.remove", "os.rename", "urllib.Request")  # fmt: skip


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    limits = LoadLimits(**job["limits"])
    data = sys.stdin.buffer.read()
    try:
        _give_up_rights(limits)
        parsed = parse(data, job["kind"], limits)
        answer = {
            "text": parsed.text,
            "kind": parsed.kind,
            "places": parsed.places,
            "warnings": parsed.warnings,
        }
    except Unreadable as verdict:
        answer = {"fault": verdict.fault, "cure": verdict.cure}
    except DocumentUnreadable as error:
        answer = {"fault": error.fault, "cure": error.cure}
    except MemoryError:
        answer = {"fault": "needs more memory to read than a document should", "cure": "Split it, or give its text."}
    except RecursionError:
        answer = {"fault": "is nested too deeply to be read", "cure": "Give its text."}
    except ModuleNotFoundError as missing:
        answer = {
            "fault": f"cannot be read without the package {missing.name}",
            "cure": 'Run: pip install "ai-failover-gateway[files]"',
        }
    sys.stdout.buffer.write(json.dumps(answer).encode())


def parse(data: bytes, kind: str, limits: LoadLimits) -> Parsed:
    """Text and places of a file of that kind; raises `Unreadable`."""
    parsed = Parsed(kind, limits)
    if kind == "pdf":
        from .formats import pdf

        pdf.read(data, parsed)
    elif kind == "zip":
        from .formats import container, office

        office.read(container.Container(data, limits), parsed)
    elif kind == "eml":
        from .formats import mail

        mail.read(data, parsed)
    else:
        text, warnings = decoded(data, "")
        parsed.warnings.extend(warnings)
        import_module(f".formats.{'html' if kind == 'html' else 'notebook'}", __package__).read(text, parsed)
    return parsed


def _give_up_rights(limits: LoadLimits) -> None:
    try:
        import resource
    except ImportError:  # Windows: the time limit of the parent must do
        pass
    else:
        for what, most in (
            (resource.RLIMIT_AS, limits.memory_bytes),
            (resource.RLIMIT_CPU, int(limits.seconds) + 1),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(_FORBIDDEN) or (event == "open" and _writes(arguments)):
            raise PermissionError(event)

    sys.addaudithook(refuse)


def _writes(arguments: tuple[object, ...]) -> bool:
    mode = arguments[1] if len(arguments) > 1 else None
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


if __name__ == "__main__":
    main()
