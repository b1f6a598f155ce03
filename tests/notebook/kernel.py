"""A real kernel, driven as a notebook's front end drives it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

HANG = 60.0  # seconds after which a kernel that says nothing has hung


@dataclass
class Outcome:
    """What one cell sent. `display` is the output as the saved notebook would hold it."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""

    @property
    def stdout(self) -> str:
        return "".join(m["content"]["text"] for m in self._of("stream") if m["content"]["name"] == "stdout")

    @property
    def error(self) -> list[str]:
        return [line for m in self._of("error") for line in m["content"]["traceback"]]

    @property
    def growth(self) -> list[str]:
        """The Markdown of each update, one after the other."""
        kinds = ("display_data", "update_display_data")
        return [m["content"]["data"].get("text/markdown", "") for m in self.messages if m["msg_type"] in kinds]

    @property
    def display(self) -> dict[str, Any]:
        shown = [m for m in self.messages if m["msg_type"] in ("display_data", "update_display_data")]
        return dict(shown[-1]["content"]) if shown else {}

    @property
    def bytes(self) -> int:
        return sum(len(json.dumps(m, default=str)) for m in self.messages)

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["msg_type"] == kind]


class Kernel:
    """Starts in `folder` with nothing of the surrounding environment's gateway settings but `settings`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._manager: Any = KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=environment(folder, **settings), cwd=str(folder))
        self._client: Any = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=HANG)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def send(self, cell: str) -> str:
        return str(self._client.execute(cell, store_history=True))

    def follow(self, sent: str, watch: Callable[[Outcome], None] | None = None) -> Outcome:
        """Read until the cell has ended; `watch` is called after each message."""
        outcome = Outcome()
        by = time.monotonic() + HANG
        while time.monotonic() < by:
            message = self._client.get_iopub_msg(timeout=HANG)
            if message["parent_header"].get("msg_id") != sent:
                continue
            outcome.messages.append(message)
            if watch is not None:
                watch(outcome)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        outcome.status = self.reply(sent)["status"]
        return outcome

    def reply(self, sent: str) -> dict[str, Any]:
        while True:
            message = self._client.get_shell_msg(timeout=HANG)
            if message["parent_header"].get("msg_id") == sent:
                return dict(message["content"])

    def run(self, cell: str, watch: Callable[[Outcome], None] | None = None) -> Outcome:
        return self.follow(self.send(cell), watch)

    def value(self, expression: str) -> Any:
        """The value of an expression, by way of JSON."""
        return json.loads(self.run(f"import json as _json; print(_json.dumps({expression}))").stdout)

    def complete(self, text: str) -> dict[str, Any]:
        return self.reply(self._client.complete(text, len(text)))


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This process's environment without its credentials; logins and state stay inside `folder`."""
    kept = {name: value for name, value in os.environ.items() if not _is_gateway(name)}
    own = {
        "AI_GATEWAY_STATE_DIR": str(folder / "state"),
        "AI_GATEWAY_STORE": "memory",
        "COPILOT_USE_GH": "0",
        "COPILOT_EDITOR_LOGIN": "0",
        "IPYTHONDIR": str(folder / "ipython"),
        "OLLAMA_BASE_URL": "http://127.0.0.1:9",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    return kept | own | settings


def _is_gateway(name: str) -> bool:
    starts = ("AI_GATEWAY", "COPILOT", "CLOUD", "OPENAI", "OLLAMA", "LOCAL_", "GH_", "GITHUB", "VSCODE")
    return name.startswith(starts) or name.endswith(("_API_KEY", "_TOKEN"))
