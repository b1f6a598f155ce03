"""The same load measured for another package of AI magics, in an environment of its own.

    python benchmarks/notebook/beside.py [--keep FOLDER]

Installs `jupyter-ai-magic-commands` (several hundred MB) into a temporary environment, so it is no part of the tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE, EXTENSION = "jupyter-ai-magic-commands", "jupyter_ai_magic_commands"
ROUNDS = 5
MEASURE = """
import json, resource, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def used():
    u = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime
before, modules = used(), set(sys.modules)
shell.extension_manager.load_extension(sys.argv[1])
cost, new = used() - before, set(sys.modules) - modules
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print("RESULT" + json.dumps({"cpu_ms": round(1000 * cost), "modules": len(new), "rss_mb": rss}))
"""


def measure(python: Path | str, extension: str) -> dict[str, float]:
    """Medians over fresh processes."""
    found = []
    for _ in range(ROUNDS):
        told = subprocess.run([str(python), "-c", MEASURE, extension], capture_output=True, text=True, check=True)
        found.append(json.loads(told.stdout.rpartition("RESULT")[2]))
    return {name: sorted(row[name] for row in found)[ROUNDS // 2] for name in found[0]}


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="install here and leave it")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary) / "theirs"
        if not (folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
            subprocess.run([*install, PACKAGE, "ipykernel"], check=True)
        theirs = measure(folder / "bin" / "python", EXTENSION)
        print(f"{'':<28}{'CPU ms':>8}{'modules':>9}{'RSS MB':>8}")
        for name, row in (("notebook_ext", measure(sys.executable, "notebook_ext")), (PACKAGE, theirs)):
            print(f"{name:<28}{row['cpu_ms']:>8}{row['modules']:>9}{row['rss_mb']:>8}")
        print(f"{PACKAGE} with what it needs: {size_mb(folder):.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
