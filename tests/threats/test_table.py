"""The table of threats in the documents, and the tests it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| S(\d+) \|.*\| (.*) \|$", re.MULTILINE)


def test_every_threat_has_its_row_and_every_test_it_names_exists():
    rows = ROW.findall((ROOT / "docs" / "security.md").read_text("utf-8"))
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^\s*(?:async )?def (test_\w+)", tests, re.MULTILINE))
    named = {name for _, cell in rows for name in re.findall(r"`(test_\w+)`", cell)}

    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert named - known == set()
    for number, cell in rows:
        assert f"test_s{int(number):02}_" in cell or f"_s{int(number):02}_" in cell or "the same" in cell, number


def test_every_numbered_test_belongs_to_a_row():
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    numbers = {int(number) for number in re.findall(r"def test_s(\d\d)_", tests)}

    assert numbers <= set(range(1, 21))


def test_the_policy_names_no_address_but_the_hosting_site():
    text = (ROOT / "SECURITY.md").read_text("utf-8")

    assert "@" not in text
    assert "://" not in text
