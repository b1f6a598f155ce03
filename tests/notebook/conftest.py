"""A notebook without a kernel: IPython's own shell, a scripted gateway, and what a cell leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gateway_core import Gateway, Settings
from gateway_core.testing import ScriptedTier
from notebook_ext import GatewayMagics
from notebook_ext.magics import unregister


@dataclass
class Ran:
    """One cell: what it printed, and the error it ended with."""

    out: str
    err: str
    error: BaseException | None


class Notebook:
    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.shell = InteractiveShell(config=config)
        self._capture = capture
        self.magics: GatewayMagics | None = None

    def answer_with(self, *tiers: ScriptedTier, **settings: Any) -> None:
        chosen = Settings(_env_file=None, ai_gateway_store="memory", **settings)
        self.magics = GatewayMagics(self.shell, Gateway(tiers, settings=chosen))
        self.magics.register()

    def run(self, cell: str) -> Ran:
        self._capture.readouterr()
        result = self.shell.run_cell(cell)
        out, err = self._capture.readouterr()
        return Ran(out, err, result.error_in_exec or result.error_before_exec)

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.shell.user_ns[name] = value


@pytest.fixture
def notebook(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("notebook")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    monkeypatch.setenv("AI_GATEWAY_STATE_DIR", str(folder / ".state"))
    for name in ("AI_GATEWAY_STREAM", "AI_GATEWAY_FOOTER", "AI_GATEWAY_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Notebook(capsys)
    yield made
    unregister(made.shell)


@pytest.fixture
def asked() -> Callable[[ScriptedTier], str]:
    """What a tier was asked last, as one text."""
    return lambda tier: "\n".join(message.content for message in tier.prompts[-1].messages)
