"""The notebook's page tells every option and action there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from notebook_ext import arguments

PAGE = (Path(__file__).parents[2] / "docs" / "notebook.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", sorted({*arguments.flags("ai"), *arguments.flags("ai_rag")}))
def test_every_option_is_in_the_reference(flag):
    assert f"`{flag}`" in PAGE or f"`{flag} " in PAGE


@pytest.mark.parametrize("action", arguments.ACTIONS)
def test_every_action_is_in_the_reference(action):
    assert f"`%ai {action}" in PAGE
