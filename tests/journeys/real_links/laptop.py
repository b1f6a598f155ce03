"""What a test says to the gateway inside the laptop's namespace, and what it hears."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
GUARD = 20.0


@dataclass
class Heard:
    """One request: its events so far. Moments are of the monotonic clock."""

    number: int
    begun: float
    events: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def until(self, event: str, count: int = 1) -> float:
        """The moment at which so many events of this kind had come."""
        end = time.monotonic() + GUARD
        while sum(e["event"] == event for e in self.seen) < count:
            if self.seen and self.seen[-1]["event"] == "end":
                raise AssertionError(f"no {event} before the end: {self.seen[-1]}")
            self.seen.append(self.events.get(timeout=max(0.001, end - time.monotonic())))
        return float(self.seen[-1]["at"])

    def finish(self) -> Heard:
        self.until("end")
        return self

    @property
    def end(self) -> dict[str, Any]:
        assert self.seen[-1]["event"] == "end"
        return self.seen[-1]

    @property
    def seconds(self) -> float:
        return float(self.end["at"]) - self.begun

    @property
    def answer(self) -> dict[str, Any]:
        assert "answer" in self.end, self.end
        found: dict[str, Any] = self.end["answer"]
        return found

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.end["error"]
        return found

    @property
    def backend(self) -> str:
        return str(self.answer["backend"])

    @property
    def shown(self) -> str:
        return "".join(e["text"] for e in self.seen if e["event"] == "delta")

    def first_text_of(self, segment: int) -> float:
        return next(float(e["at"]) for e in self.seen if e["event"] == "delta" and e["segment"] == segment)

    @property
    def attempts(self) -> list[tuple[str, str, str | None]]:
        found = self.answer if "answer" in self.end else self.error
        return [(a["backend"], a["outcome"], a["reason"]) for a in found["attempts"]]

    def attempt(self, backend: str) -> dict[str, Any]:
        found = self.answer if "answer" in self.end else self.error
        return next(a for a in found["attempts"] if a["backend"] == backend)

    @property
    def segments(self) -> list[str]:
        return [s["backend"] for s in self.answer["segments"]]


class Laptop:
    """The process in the namespace. `build` before the first question."""

    def __init__(self, namespace: str, environ: Mapping[str, str]) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.journeys.real_links.asking"]
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**kept, **environ}
        )
        self._numbers = 0
        self._hearing = {0: Heard(0, time.monotonic())}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._hearing[0].until("ready")

    def build(self, settings: Mapping[str, Any], **environ: str) -> None:
        """A new gateway, with nothing learned yet."""
        before = sum(e["event"] == "built" for e in self._hearing[0].seen)
        self._tell(build=dict(settings), environ=environ)
        self._hearing[0].until("built", before + 1)

    def begin(self, **options: Any) -> Heard:
        """Ask, and go on with the test meanwhile."""
        self._numbers += 1
        heard = self._hearing[self._numbers] = Heard(self._numbers, time.monotonic())
        self._tell(ask=options, number=self._numbers)
        return heard

    def ask(self, **options: Any) -> Heard:
        return self.begin(**options).finish()

    def status(self) -> dict[str, Any]:
        self._numbers += 1
        heard = self._hearing[self._numbers] = Heard(self._numbers, time.monotonic())
        self._tell(status=True, number=self._numbers)
        found: dict[str, Any] = heard.finish().end["status"]
        return found

    def circuit(self, backend: str = "copilot") -> dict[str, Any]:
        """State, failures and reason of a tier's circuit."""
        found: dict[str, Any] = next(t["circuit"] for t in self.status()["tiers"] if t["backend"] == backend)
        return found

    def peak_memory(self) -> int:
        """Bytes held at most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(GUARD)
        self._thread.join(GUARD)
        self.process.stdin.close()
        self.process.stdout.close()

    def _tell(self, **line: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            self._hearing[event["number"]].events.put(event)
