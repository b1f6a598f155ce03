"""Forks writers of one circuit file and kills them in the middle of their work.

python -m tests.core.circuit.killer PATH KILLS
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path

from gateway_core.circuit import Circuit
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.clock import SystemClock

AT_A_TIME = 4


def counted(circuit: Circuit) -> tuple[Circuit, None]:
    return replace(circuit, failures=circuit.failures + 1, generation=circuit.generation + 1), None


async def write_for_ever(path: Path) -> None:
    store = SqliteStore(path, SystemClock(), patience=5.0)
    while True:
        await store.update("copilot", counted)


def main(path: Path, kills: int) -> None:
    chance = random.Random(7)
    killed = 0
    while killed < kills:
        children = []
        for _ in range(min(AT_A_TIME, kills - killed)):
            if (child := os.fork()) == 0:
                asyncio.run(write_for_ever(path))
            children.append(child)
        for child in children:
            time.sleep(chance.uniform(0.005, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
    connection = sqlite3.connect(path)
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    rows = connection.execute("SELECT version, failures, generation FROM circuit").fetchall()
    connection.close()
    ((version, failures, generation),) = rows
    print(killed, verdict, "no change lost" if version == failures == generation else f"torn: {rows}", failures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
