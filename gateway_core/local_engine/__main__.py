"""The child. Reads its configuration as one JSON line, serves, and ends when its standard input does.

The end of standard input is the one sign that also arrives when the parent is killed. Configuration comes that way
too, so that the key is in no argument list and no environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

CANNOT_LOAD = 3
NOT_INSTALLED = 4
# The engine logs from a thread of its own, and the error it raises does not name the reason.
LOG_DELAY = 0.2


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our standard input
    # Only we write to standard output: whatever the engine prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(**told: Any) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    config = json.loads(sys.stdin.readline())
    try:
        import xllamacpp
    except ImportError as exc:
        report(error=str(exc))
        os._exit(NOT_INSTALLED)
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, config))
    except RuntimeError as exc:
        report(error=str(exc))
        time.sleep(LOG_DELAY)
        os._exit(CANNOT_LOAD)
    report(address=server.listening_address)
    sys.stdin.read()
    # No tidy end: taking the server down can wait for ever.
    os._exit(0)


def _parameters(xllamacpp: Any, config: dict[str, Any]) -> Any:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = config["model"]
    chosen.model_alias = {config["alias"]}
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = 0
    chosen.api_keys = [config["api_key"]]
    # Unpinned, any web page in the user's browser could talk to the engine.
    chosen.cors_origins = "http://127.0.0.1"
    chosen.ui = False
    chosen.n_ctx = config["context"]
    chosen.n_parallel = 1  # the context is divided among the slots
    chosen.cache_ram_mib = 256  # of the default's eight gigabytes
    chosen.sleep_idle_seconds = config["sleep_after"]
    chosen.verbosity = 1  # errors only: more would put pieces of prompts into the log
    if config["threads"]:
        chosen.cpuparams.n_threads = config["threads"]
    return chosen


if __name__ == "__main__":
    main()
