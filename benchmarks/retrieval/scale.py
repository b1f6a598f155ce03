"""CPU time and memory of indexing and asking, by the size of the text.

The text is made up: words drawn by Zipf's law from 200,000, in sentences and paragraphs, the same on every machine.
Every size runs in a process of its own, so that memory is counted from nothing.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from gateway_core.rag import PassageIndex
from gateway_core.types import Document

VOCABULARY = 200_000
DOCUMENT_CHARS = 250_000
QUESTIONS = 30


def main(sizes: list[int]) -> None:
    print("| text | index CPU s | first question CPU ms | question CPU ms, median | worst | memory beyond text |")
    print("|---|---|---|---|---|---|")
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.retrieval.scale", str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        figures = json.loads(done.stdout)
        print(
            f"| {size} MB | {figures['index_s']:.2f} | {figures['first_ms']:.1f} | {figures['median_ms']:.1f} "
            f"| {figures['worst_ms']:.1f} | {figures['memory_mb']:.0f} MB |",
            flush=True,
        )


def measure(size: int) -> dict[str, float]:
    chance = random.Random(7)
    vocabulary = [_word(chance) for _ in range(VOCABULARY)]
    documents = list(_documents(chance, vocabulary, size * 1_000_000))
    questions = [_question(chance, vocabulary) for _ in range(QUESTIONS)]
    del vocabulary
    PassageIndex(["warm up " * 1000]).pack("warm", 100)
    gc.collect()
    before = _resident()

    start = time.process_time()
    index = PassageIndex(documents)
    index.prepare()
    index_s = time.process_time() - start

    asked = []
    for question in questions:
        start = time.process_time()
        index.pack(question, 4000)
        asked.append(1000 * (time.process_time() - start))
    gc.collect()
    return {
        "index_s": index_s,
        "first_ms": asked[0],
        "median_ms": sorted(asked)[len(asked) // 2],
        "worst_ms": max(asked),
        "memory_mb": (_resident() - before) / 1e6,
    }


def _word(chance: random.Random) -> str:
    syllables = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "za", "an", "er", "in", "or", "us", "al", "th")
    return "".join(chance.choices(syllables, k=chance.randint(1, 5)))


def _documents(chance: random.Random, vocabulary: list[str], chars: int):  # type: ignore[no-untyped-def]
    weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(vocabulary))))
    for number in range(max(1, chars // DOCUMENT_CHARS)):
        parts: list[str] = []
        length = 0
        while length < min(chars, DOCUMENT_CHARS):
            sentence = " ".join(chance.choices(vocabulary, cum_weights=weights, k=chance.randint(6, 24))).capitalize()
            parts.append(sentence + (".\n\n" if chance.random() < 0.15 else ". "))
            length += len(parts[-1])
        yield Document("".join(parts), name=f"file {number}.txt")


def _question(chance: random.Random, vocabulary: list[str]) -> str:
    """Two frequent words, three of middling rank, one rare: what questions are made of."""
    picked = [*vocabulary[20:400:190], *(chance.choice(vocabulary[400:8000]) for _ in range(3))]
    return "What is the " + " ".join([*picked, chance.choice(vocabulary[8000:60_000])]) + "?"


def _resident() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return 0


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
