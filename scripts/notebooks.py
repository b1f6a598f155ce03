"""Runs the notebooks against simulated providers and stores them with their outputs: python scripts/notebooks.py

The providers answer questions they know with a fixed text, so that the stored notebooks read well; nothing is asked
of anybody's real account, and no path of this machine is left in an output.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from gateway_core.testing.simulators import CopilotSimulator, OpenAISimulator

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = ("01-quickstart.ipynb", "02-ask-your-variables.ipynb", "03-when-the-internet-goes.ipynb")

# The words a question holds, and its answer; `{n:...}` becomes the number of the passage that holds those words.
ANSWERS = (
    ("circuit breaker", "A circuit breaker counts failures of something it depends on and, after a few in a row, "
     "**stops asking** for a while. One careful request later finds out whether it is back."),
    ("larger than Oslo", "No. Oslo has about 700,000 inhabitants, Bergen about 290,000."),
    ("capital of Norway", "Oslo"),
    ("How many people live there", "About 700,000 in the city itself."),
    ("Which order went to", "Order 1003 went to Tromsø, for 249.00 [{n:Tromsø}]."),
    ("return an item", "Yes: items may be returned within 30 days of delivery, if the parcel is unopened or the item "
     "faulty [{n:within 30 days}]."),
    ("wrong with this function", "It divides by `len(values)` without a check, so an empty list raises "
     "`ZeroDivisionError` [{n:len(values)}]."),
    ("Who may deploy", "Ada and Grace may deploy [{n:deployers}]."),
)  # fmt: skip


def answer_for(body: Any) -> str:
    """The fixed answer to a question the notebooks ask. `body` is the request, in whichever provider's form."""
    turn = (body.get("messages") or body.get("input"))[-1]
    asked = turn if isinstance(turn, str) else _text_of(turn["content"])
    for words, answer in ANSWERS:
        if words in asked:
            return re.sub(r"\{n:(.*?)\}", lambda match: _number_of(match[1], asked), answer)
    return "I know nothing of that."


def shuffled(body: Any) -> str:
    """The words of the fixed answer in another order, its citations kept: no test may depend on a model's words."""
    words = answer_for(body).split()
    random.shuffle(words)
    return " ".join(words)


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _number_of(words: str, prompt: str) -> str:
    """The number of the passage that holds the words."""
    before = prompt[: prompt.find(words)] if words in prompt else ""
    numbers = re.findall(r"^\S*.*?\[(\d+)\]", before, re.MULTILINE)
    return numbers[-1] if numbers else "1"


@contextmanager
def providers(answer: Any = answer_for, pace: float = 0.0) -> Iterator[dict[str, str]]:
    """Simulated providers, and the environment in which a kernel asks them."""
    with (
        CopilotSimulator(answer=answer, token_delay=pace) as copilot,
        OpenAISimulator(answer=answer, token_delay=pace) as openai,
        tempfile.TemporaryDirectory() as folder,
    ):
        theirs = ("AI_GATEWAY", "COPILOT", "CLOUD", "OPENAI", "OLLAMA", "LOCAL_", "GH_", "GITHUB")
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith(theirs)},
            "AI_GATEWAY_STATE_DIR": str(Path(folder) / "state"),
            "COPILOT_EDITOR_LOGIN": "0",
            "COPILOT_GITHUB_API": copilot.url,
            "COPILOT_GITHUB_WEB": copilot.url,
            "COPILOT_MAX_RPM": "0",
            "COPILOT_USE_GH": "0",
            "GITHUB_COPILOT_TOKEN": copilot.device.token,
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "OLLAMA_BASE_URL": "http://127.0.0.1:9",
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": openai.base_url,
        }


def execute(path: Path, environment: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook with fresh outputs. A cell that fails and is not tagged so stops it."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": FOLDER}})
    client.execute(env=environment)
    return notebook


def tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what differs from run to run and says nothing: times of execution, the interpreter's patch level."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def main(names: list[str]) -> int:
    for name in names or NOTEBOOKS:
        with providers(pace=0.01) as environment:
            notebook = tidied(execute(FOLDER / name, environment))
        nbformat.write(notebook, FOLDER / name)
        print(f"{name}: {len(notebook.cells)} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
