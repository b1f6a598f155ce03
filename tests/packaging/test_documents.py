"""Documents say what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

from gateway_core.settings import Settings
from gateway_core.types import Reason

ROOT = Path(__file__).parent.parent.parent


def test_every_setting_has_a_description():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_settings_page_is_generated_from_the_settings():
    page = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["page"]()
    told = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert told == page, "run: python scripts/settings_table.py"


def test_every_reason_is_in_the_reference():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert [str(reason) for reason in Reason if f"| `{reason}` |" not in page] == []
