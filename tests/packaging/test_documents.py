"""Documents say what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from gateway_core.cli.arguments import parser
from gateway_core.erasure import KEPT, STORES
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


def test_the_security_page_tells_what_each_store_holds_and_whether_it_goes():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(" `/"): [cell.strip() for cell in row.split("|")[2:5]] for row in page.splitlines()
            if row.startswith("| `")}  # fmt: skip

    assert set(rows) == {store.name for store in STORES} | set(KEPT)
    for store in STORES:
        assert rows[store.name][1:] == ["goes" if store.is_content else "stays", "goes"]
        assert store.holds.replace("`", "") in rows[store.name][0].replace("`", "") or not store.is_content


def test_only_commands_that_exist_are_named_anywhere():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    actions = next(action for action in commands["local"]._actions if action.dest == "action").choices
    named = {}
    for path in _texts():
        for found in NAMED_COMMAND.finditer(path.read_text(encoding="utf-8")):
            named[found[1], found[2] if found[1] == "local" else None] = path.relative_to(ROOT)

    assert len(named) > 10
    assert {f"{command} {action or ''}": str(path) for (command, action), path in named.items()
            if command not in commands or (action and action not in actions)} == {}  # fmt: skip


# In quotation marks, in code, or in a prepared line: `ai-gateway login`, "ai-gateway local list", {PROGRAM} local use
NAMED_COMMAND = re.compile(
    r"""(?:(?<!b)[`"'(]|^ *(?:\$ )?|\| |→ |: )(?:ai-gateway|\{PROGRAM\}) ([a-z]+)(?: ([a-z]+))?""", re.MULTILINE
)


def _texts() -> list[Path]:
    code = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return [*code, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]


PACKAGES = ("gateway_core", "notebook_ext", "server", "webui")
