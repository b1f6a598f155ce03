"""Runs every client and writes the table of docs/clients.md anew: python -m tests.clients [PART OF A NAME]"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .running import running
from .table import CLIENTS, HEAD, PAGE, measured, rows_of, table
from .world import living


def main(part: str = "") -> None:
    rows = rows_of(PAGE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="clients-") as home, living(Path(home)) as world:
        for client in CLIENTS:
            if part in client.name:
                with running(client.environment, client.script, world) as child:
                    rows[client.name] = str(measured(client, child, world))
                print(rows[client.name], flush=True)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(HEAD[0])
    after = rest.partition("\n\n")[2]
    ordered = [rows[client.name] for client in CLIENTS if client.name in rows]
    PAGE.write_text(f"{before}{table(ordered)}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
