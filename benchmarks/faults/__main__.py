"""Eighteen faults of the tier asked first, against real gateway processes; providers are simulated on loopback.

    python -m benchmarks.faults
    python -m benchmarks.faults --litellm PYTHON          the python of an environment with litellm[proxy]
    python -m benchmarks.faults --portkey START_SERVER    build/start-server.js of @portkey-ai/gateway

Prints a Markdown table. A cell: the verdict, what the callers saw and who wrote it, how many of the requests reached
the broken tier. The verdict is that of the worst request:

    held   the whole answer, word for word
    told   not the whole answer, but the caller knows: an error, a broken reply, a note that it is empty
    lost   less than the answer and no sign of it, or no end at all
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from . import gateways
from .rules import FAULTS, HEALTHY, Fault, Outcome, Verdict, table

TIMES = 5

Columns = dict[str, dict[int, Outcome]]


async def run(gateway: gateways.Gateway, faults: Sequence[Fault] = FAULTS, times: int = TIMES) -> Columns:
    """A column for each way to ask. A way that does not work with healthy providers is left out, and said so."""
    columns: Columns = {}
    async with gateway.client:
        for way in gateway.ways:
            healthy = await gateway.meet(HEALTHY, way, 1)
            if healthy.verdict is not Verdict.HELD:
                _say(f"{gateway.name} {gateway.version}, {way}: not measured, {healthy.cell} with healthy providers")
                continue
            column = columns[f"{gateway.name}, {way}"] = {}
            for fault in faults:
                if gateway.can_meet(fault, way):
                    column[fault.number] = await gateway.meet(fault, way, times)
                    _say(f"{gateway.name}, {way}: {fault.name}: {column[fault.number].cell}")
    return columns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", metavar="PYTHON")
    parser.add_argument("--portkey", metavar="START_SERVER")
    parser.add_argument("--peers-only", action="store_true", help="leave this project's own columns out")
    parser.add_argument("--times", type=int, default=TIMES, help="requests for each fault")
    parser.add_argument("--only", default="", help="numbers of faults, with commas")
    chosen = parser.parse_args()
    numbers = {int(number) for number in chosen.only.split(",") if number}
    faults = [fault for fault in FAULTS if not numbers or fault.number in numbers]
    columns: Columns = {}
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        under_test: list[AbstractContextManager[gateways.Gateway]] = []
        if not chosen.peers_only:
            under_test.append(gateways.ours(Path(folder)))
        if chosen.litellm:
            under_test.append(gateways.litellm(Path(folder), chosen.litellm))
        if chosen.portkey:
            under_test.append(gateways.portkey(Path(folder), chosen.portkey))
        for starting in under_test:
            with starting as gateway:
                told.append(f"{gateway.name} {gateway.version}")
                columns |= asyncio.run(run(gateway, faults, chosen.times))
    print(f"{', '.join(told)}; {datetime.now(UTC):%Y-%m-%d}; {chosen.times} requests for each fault\n")
    print("\n".join(table(columns)))
    ours = [outcome for name, column in columns.items() if name.startswith("AI Gateway") for outcome in column.values()]
    return int(any(outcome.verdict is Verdict.LOST for outcome in ours))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
