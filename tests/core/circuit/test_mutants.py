"""The tests of the circuit are tested: every known mistake, planted, must be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutants import MACHINE, MUTANTS, Mutant, PatchDoesNotApply, caught_by, survivors


@pytest.mark.slow
def test_every_planted_mistake_is_noticed() -> None:
    assert list(survivors()) == []


def test_every_mutant_still_applies() -> None:
    root = Path(__file__).resolve().parents[3]
    for mutant in MUTANTS:
        assert (root / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1, mutant.name


def test_a_mutant_that_no_longer_applies_is_an_error() -> None:
    with pytest.raises(PatchDoesNotApply):
        caught_by(Mutant("from another age", MACHINE, "no such line", ""))
