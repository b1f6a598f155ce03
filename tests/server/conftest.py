"""No test reads this machine's settings."""

from __future__ import annotations

import pytest

from gateway_core import Settings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
