"""Compare ways to fill a context.

    python -m benchmarks.retrieval --data DIR [--sets a,b] [--most 60] [--ablate]
    python -m benchmarks.retrieval --scale [1,10,100]
    python -m benchmarks.retrieval --loading

DIR holds *.json files of two kinds, told apart by "task":

    longqa  {"bundles": [{"docs": [{"id", "title", "text"}],
                          "queries": [{"q", "answers": [...], "spans": [[document, start, end], ...]}]}]}
    rank    {"docs": [{"id", "title", "text"}], "queries": [{"q", "rel": {id: grade}}]}

evidence: share of questions whose answer stands in the context together with 40 characters of its own surroundings.
first three quotes: share of questions with an answer in one of the three best quotes of up to 400 characters.
nDCG@10: quality of the order of whole documents.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway_core.types import Document

from . import methods, scale

BUDGETS = (1000, 4000)
SURROUNDINGS = 40


@dataclass
class Tally:
    questions: int = 0
    found: dict[int, int] = field(default_factory=lambda: dict.fromkeys(BUDGETS, 0))
    asked: int = 0
    quoted: int = 0
    gain: float = 0.0
    cpu: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", default="", help="only these, by the names of their files")
    parser.add_argument("--most", type=int, help="questions a bundle, at most")
    parser.add_argument("--ablate", action="store_true", help="our method with one idea taken away at a time")
    parser.add_argument("--scale", nargs="?", const="1,10,100", help="megabytes, with commas")
    parser.add_argument("--loading", action="store_true", help="CPU time of loading files")
    chosen = parser.parse_args()
    if chosen.loading:
        from . import loading

        loading.main()
    if chosen.scale:
        scale.main([int(size) for size in chosen.scale.split(",")])
    if chosen.data:
        compare(chosen.data, methods.ABLATIONS if chosen.ablate else methods.METHODS, chosen.sets, chosen.most)


def compare(
    data: Path, compared: dict[str, Callable[[Sequence[Document]], methods.Method]], sets: str, most: int | None
) -> None:
    names = [name for name in sets.split(",") if name] or sorted(
        path.name.split(".")[0] for path in data.glob("*.json")
    )
    print("| set | method | " + " | ".join(f"evidence@{b}" for b in BUDGETS) + " | 3 quotes | nDCG@10 | ms |")
    print("|---|---|" + "---|" * (len(BUDGETS) + 3))
    tallies: dict[tuple[str, str], Tally] = {}
    for name in names:
        held = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))
        for method, make in compared.items():
            tally = tallies[name, method] = Tally()
            if held["task"] == "longqa":
                for bundle in held["bundles"]:
                    _ask(make, bundle, tally, most)
            else:
                _order(make, held, tally, most)
            _print(name, method, held["task"], tally)
    for group, members in _groups(names).items():
        for method in compared:
            _print_mean(group, method, [tallies[name, method] for name in members])


def _groups(names: list[str]) -> dict[str, list[str]]:
    """Long documents and languages are averaged apart."""
    groups = {
        "mean of languages": [name for name in names if name.startswith("xquad_")],
        "mean of long sets": [name for name in names if not name.startswith(("xquad_", "rank_"))],
    }
    return {group: members for group, members in groups.items() if members}


def _documents(docs: list[dict[str, Any]]) -> list[Document]:
    return [Document(doc["text"], name=doc["title"], id=str(doc["id"])) for doc in docs]


def _ask(
    make: Callable[[Sequence[Document]], methods.Method], bundle: dict[str, Any], tally: Tally, most: int | None
) -> None:
    method = make(_documents(bundle["docs"]))
    for query in bundle["queries"][:most]:
        start = time.process_time()
        contexts = {budget: method.pack(query["q"], budget) for budget in BUDGETS}
        tally.cpu += time.process_time() - start
        tally.asked += 1
        quotes = getattr(method, "quotes", None)
        if quotes is not None:
            said = [_squeezed(quote) for quote in quotes(query["q"])]
            tally.quoted += any(_squeezed(answer) in quote for answer in query["answers"] for quote in said)
        if query["spans"]:
            keys = _keys(bundle, query)
            tally.questions += 1
            for budget, context in contexts.items():
                squeezed = _squeezed(context)
                tally.found[budget] += len(context) <= budget and any(key in squeezed for key in keys)


def _keys(bundle: dict[str, Any], query: dict[str, Any]) -> list[str]:
    """An answer with what stands before it, and with what stands behind it: a chance hit elsewhere does not count."""
    keys = []
    for document, start, end in query["spans"]:
        text = bundle["docs"][document]["text"]
        keys.append(_squeezed(text[max(0, start - SURROUNDINGS) : end]))
        keys.append(_squeezed(text[start : end + SURROUNDINGS]))
    return keys


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _order(
    make: Callable[[Sequence[Document]], methods.Method], held: dict[str, Any], tally: Tally, most: int | None
) -> None:
    method = make(_documents(held["docs"]))
    for query in held["queries"][:most]:
        start = time.process_time()
        ranked = method.rank(query["q"], 10)
        tally.cpu += time.process_time() - start
        tally.asked += 1
        grades = query["rel"]
        ideal = _discounted(sorted(grades.values(), reverse=True)[:10])
        tally.gain += _discounted([grades.get(document, 0) for document in ranked]) / ideal if ideal else 0.0


def _discounted(grades: Sequence[int]) -> float:
    return sum((2**grade - 1) / math.log2(rank + 2) for rank, grade in enumerate(grades))


def _print(name: str, method: str, task: str, tally: Tally) -> None:
    ms = f"{1000 * tally.cpu / max(1, tally.asked):.1f}"
    if task == "longqa":
        found = [f"{100 * tally.found[budget] / max(1, tally.questions):.1f}" for budget in BUDGETS]
        quoted = f"{100 * tally.quoted / max(1, tally.asked):.1f}" if tally.quoted else "-"
        cells = [*found, quoted, "-", ms]
    else:
        cells = [*("-" for _ in BUDGETS), "-", f"{tally.gain / max(1, tally.asked):.3f}", ms]
    print(f"| {name} | {method} | {' | '.join(cells)} |", flush=True)


def _print_mean(group: str, method: str, tallies: list[Tally]) -> None:
    found = [
        sum(100 * tally.found[budget] / max(1, tally.questions) for tally in tallies) / len(tallies)
        for budget in BUDGETS
    ]
    quoted = sum(100 * tally.quoted / max(1, tally.asked) for tally in tallies) / len(tallies)
    print(f"| {group} | {method} | {' | '.join(f'{share:.1f}' for share in [*found, quoted])} | - | - |", flush=True)


if __name__ == "__main__":
    main()
