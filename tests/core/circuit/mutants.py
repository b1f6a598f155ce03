"""Known ways to get a circuit wrong, each planted in a copy of the code; the tests must notice every one.

    python -m tests.core.circuit.mutants

A mutant is a textual patch. One that no longer applies is an error, not a pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MACHINE = "gateway_core/circuit/machine.py"
OUTCOMES = "gateway_core/routing/outcomes.py"
TABLES = ["tests/core/circuit/test_machine.py", "tests/core/routing/test_outcomes.py"]
LAWS = ["tests/core/circuit/test_laws.py"]  # slower: asked when the tables see nothing
GUARD = 120  # seconds for one run of the suite; a mutant that hangs is not "caught"


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str


class PatchDoesNotApply(Exception):
    """The code has changed; the mutant must be written anew."""


_TAKEN = "    if circuit.remaining(now) > 0:\n        return circuit, None"
_STALE = "    if permit.generation != circuit.generation:"
_COUNTS = "        case End.FAILURE:\n"
_THRESHOLD = "counted.failures >= policy.failure_threshold"
_FREED = (
    "    if circuit.state is CircuitState.HALF_OPEN:  # the next caller may probe at once\n"
    "        return _moved(circuit, CircuitState.OPEN, now, 0.0)\n"
)
_UNTOUCHED = _FREED + "    return circuit\n"
_RESET = "    generation = circuit.generation + 1\n"
_BEFORE_RESET = "if permit.generation < circuit.reset_at else"
_CALLERS = "    if isinstance(failure, PromptRefused):\n        return NEUTRAL"
_CANCEL = (
    "    if not isinstance(failure, Exception):  # cancelled, closed, interrupted: the caller's own doing\n"
    "        return NEUTRAL"
)
_BUG = "    return Outcome(End.FAILURE, Reason.INTERNAL)"


def _machine(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, MACHINE, old, new)


def _mapping(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, OUTCOMES, old, new)


MUTANTS = [
    _machine("herd at half-open", _TAKEN, _TAKEN.replace("0:", "0 and circuit.state is CircuitState.OPEN:")),
    _mapping("probe stuck after an exception", _BUG, "    raise failure"),
    _mapping("probe stuck after an exception", _BUG, "    return NEUTRAL"),
    _machine(
        "probe stuck after an exception",
        _COUNTS,
        _COUNTS + "            if circuit.state is CircuitState.HALF_OPEN:\n                return circuit\n",
    ),
    _machine("probe stuck after a cancel", _FREED, ""),
    _machine("late success closes", _STALE, _STALE[:-1] + " and outcome.end is not End.SUCCESS:"),
    _machine("late failure opens", _STALE, _STALE[:-1] + " and outcome.end is not End.FAILURE:"),
    _mapping("cancel counts", _CANCEL, ""),
    _machine("cancel counts", _COUNTS, "        case End.FAILURE | End.NEUTRAL:\n"),
    _mapping("cancel wipes the streak", _CANCEL, _CANCEL.replace("return NEUTRAL", "return SUCCESS")),
    _machine("cancel wipes the streak", _UNTOUCHED, _FREED + "    return replace(circuit, failures=0)\n"),
    _mapping("caller's error counts", _CALLERS, ""),
    _mapping("caller's error wipes the streak", _CALLERS, _CALLERS.replace("NEUTRAL", "SUCCESS")),
    _machine("caller's error as probe closes", _FREED, _FREED.replace("CircuitState.OPEN", "CircuitState.CLOSED")),
    _machine("threshold one too high", _THRESHOLD, _THRESHOLD.replace(">=", ">")),
    _machine("threshold one too low", _THRESHOLD, _THRESHOLD.replace("failures >=", "failures + 1 >=")),
    _machine("lease never ends", "now, policy.probe_lease)", 'now, float("inf"))'),
    _machine("reset keeps the generation", _RESET, _RESET.replace(" + 1", "")),
    _machine("a call from before a reset is heard", _BEFORE_RESET, "if False else"),
    _machine("a shorter wait replaces a longer one", "    if wait <= circuit.remaining(now):", "    if wait < 0:"),
    _machine("a clock set back prolongs the wait", " if elapsed >= 0 else 0.0", ""),
]


def _copied(to: Path) -> None:
    for folder in ("gateway_core", "tests/core/circuit", "tests/core/routing"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("tests", "tests/core"):
        (to / package / "__init__.py").touch()
    for file in ("pyproject.toml", "tests/missing.py"):
        shutil.copy(ROOT / file, to / file)


def _planted(mutant: Mutant, to: Path) -> None:
    file = to / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise PatchDoesNotApply(f"{mutant.name}: {text.count(mutant.old)} places in {mutant.file} instead of one")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def _first_failure(folder: Path, suite: list[str]) -> str | None:
    """The test that failed; `None` if all passed. Anything else pytest may say is an error."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    run = subprocess.run(
        [*command, "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", *suite],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    if run.returncode == 0:
        return None
    failed = [line.split(" - ")[0].removeprefix("FAILED ") for line in run.stdout.splitlines() if "FAILED " in line]
    if run.returncode != 1 or not failed:
        raise RuntimeError(f"the suite could not be run:\n{run.stdout}\n{run.stderr}")
    return failed[0].rpartition("::")[2]


def caught_by(mutant: Mutant | None) -> str | None:
    """The test that notices this mutant (`None`: the code as it is), or `None`."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        _copied(Path(folder))
        if mutant is not None:
            _planted(mutant, Path(folder))
        return _first_failure(Path(folder), TABLES) or _first_failure(Path(folder), LAWS)


def survivors() -> Iterator[str]:
    """Plant every mutant, say who noticed, and yield those that nobody did."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        unharmed = pool.submit(caught_by, None)
        for mutant, caught in zip(MUTANTS, pool.map(caught_by, MUTANTS), strict=True):
            print(f"{'caught' if caught else 'SURVIVED':9}{mutant.name:42}{caught or ''}")
            if caught is None:
                yield mutant.name
        if (failed := unharmed.result()) is not None:
            raise RuntimeError(f"the code as it is fails {failed}: the mutants prove nothing")


def main() -> int:
    begun = time.monotonic()
    escaped = list(survivors())
    names = {mutant.name for mutant in MUTANTS}
    print(f"{len(names)} faults in {len(MUTANTS)} mutants, {len(escaped)} survived, {time.monotonic() - begun:.0f} s")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
