"""A missing program is no excuse where the run has just had the chance to install it."""

from __future__ import annotations

import pytest

from .missing import is_owed, needs

ALL = {"AI_GATEWAY_TEST_ALL": "1"}


@pytest.mark.parametrize(
    ("variables", "is_root", "system", "owed"),
    [
        pytest.param(ALL, True, "debian", True, id="root on Debian, everything"),
        pytest.param({}, True, "debian", False, id="the quick tests"),
        pytest.param({"AI_GATEWAY_TEST_ALL": ""}, True, "debian", False, id="said, but empty"),
        pytest.param(ALL, False, "debian", False, id="nobody who may install"),
        pytest.param(ALL, True, "fedora", False, id="other packages"),
        pytest.param(ALL, True, "", False, id="no Linux"),
    ],
)
def test_what_can_be_installed_is_owed(variables: dict[str, str], is_root: bool, system: str, owed: bool):
    assert is_owed(variables, is_root=is_root, system=system) is owed


def test_a_program_that_is_not_here_skips_the_quick_tests(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AI_GATEWAY_TEST_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed here"):
        needs("no-such-program")
