"""The side-by-side benchmark: its rule can fail, its table in the documents is complete, and ours holds."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from benchmarks.faults import calling, gateways
from benchmarks.faults.__main__ import run
from benchmarks.faults.rules import FAULTS, REFUSED, End, Outcome, Seen, Verdict, judge, story
from gateway_core.testing.simulators import DEFAULT_ANSWER, CopilotSimulator, OpenAISimulator, tokens_of

ROOT = Path(__file__).parent.parent.parent
CUT = "".join(tokens_of(DEFAULT_ANSWER)[:40])


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(Seen(DEFAULT_ANSWER, End.DONE), Verdict.HELD, id="whole"),
        pytest.param(Seen(DEFAULT_ANSWER + " ", End.DONE), Verdict.LOST, id="one blank too many"),
        pytest.param(Seen(DEFAULT_ANSWER, End.BARE), Verdict.LOST, id="whole, but nobody could know"),
        pytest.param(Seen(CUT, End.DONE), Verdict.LOST, id="cut, with an invented end"),
        pytest.param(Seen(CUT, End.DONE, "a note that says nothing of the cut"), Verdict.LOST, id="cut, with a note"),
        pytest.param(Seen(CUT, End.BARE), Verdict.LOST, id="cut in silence"),
        pytest.param(Seen(CUT, End.NEVER), Verdict.LOST, id="no end"),
        pytest.param(Seen(CUT, End.ERROR, "copilot: reset"), Verdict.TOLD, id="cut, with its error"),
        pytest.param(Seen(CUT, End.ERROR, " "), Verdict.LOST, id="an error without a word"),
        pytest.param(Seen(CUT, End.BROKEN), Verdict.TOLD, id="cut, and the connection with it"),
        pytest.param(Seen("", End.DONE), Verdict.LOST, id="empty"),
        pytest.param(Seen("", End.DONE, "copilot answered with an empty text"), Verdict.TOLD, id="empty, flagged"),
        pytest.param(Seen(CUT + CUT, End.DONE), Verdict.LOST, id="said twice"),
    ],
)
def test_the_rule_tells_a_whole_answer_from_one_that_looks_so(seen: Seen, verdict: Verdict):
    assert judge(seen) is verdict


def test_one_lost_answer_among_many_decides():
    whole = Seen(DEFAULT_ANSWER, End.DONE, by=("cloud",))
    outcome = Outcome([whole, whole, Seen(CUT, End.DONE), whole], calls=3)

    assert outcome.cell == "**lost**: 3× whole (cloud); 1× 40 words, looks complete; 3/4"
    assert story(Seen(f"{CUT} {CUT}", End.DONE)) == "80 words (garbled), looks complete"


class Careless(gateways.Peer):
    """What the benchmark must catch: a gateway that just passes on what the first tier sends."""

    name, version, ways = "careless", "0", ("stream",)

    async def ask(self, fault, way):
        headers = {"authorization": "Bearer sk-simulated"}
        return await calling.openai(self.client, stream=True, model="gpt-4o-mini", headers=headers)


async def test_the_benchmark_catches_a_gateway_that_only_passes_on():
    with OpenAISimulator() as first:
        careless = Careless()
        careless.primary, careless.others = first, {}
        careless.client = httpx.AsyncClient(base_url=first.url, timeout=10, trust_env=False)
        scripts = ["status_500", "html_200", "empty_text", "end_after:40", "cut_after:40", "error_after:20", REFUSED]
        faults = [fault for fault in FAULTS if fault.script in scripts]
        (column,) = (await run(careless, faults, times=2)).values()

    told = {fault.script: (column[fault.number].verdict, column[fault.number].calls) for fault in faults}
    assert told == {
        "status_500": (Verdict.TOLD, 2),
        "html_200": (Verdict.TOLD, 2),
        "empty_text": (Verdict.LOST, 2),
        "end_after:40": (Verdict.LOST, 2),
        "cut_after:40": (Verdict.TOLD, 2),
        "error_after:20": (Verdict.TOLD, 2),
        REFUSED: (Verdict.TOLD, 0),
    }


async def test_our_own_stream_without_a_last_event_counts_as_broken():
    meta = b'event: meta\ndata: {"id": "a"}\n\nevent: delta\ndata: {"text": "A small", "segment": 0, "seq": 0}\n\n'
    sent = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=meta)
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: sent), base_url="http://gateway") as client:
        assert await calling.native(client, stream=True) == Seen("A small", End.BROKEN)


async def test_a_reply_that_says_more_than_its_stream_showed_is_not_whole():
    done = {"response": DEFAULT_ANSWER, "backend": "cloud", "state": "closed", "details": {"segments": [], "notes": []}}
    shown = json.dumps({"text": CUT, "segment": 0, "seq": 0})
    events = f"event: delta\ndata: {shown}\n\nevent: done\ndata: {json.dumps(done)}\n\n"
    sent = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events.encode())
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: sent), base_url="http://gateway") as client:
        assert judge(await calling.native(client, stream=True)) is Verdict.LOST


def test_there_are_eighteen_faults_and_the_simulators_know_them():
    assert [fault.number for fault in FAULTS] == list(range(1, 19))
    with CopilotSimulator() as copilot, OpenAISimulator() as openai:
        for fault in FAULTS:
            if fault.script != REFUSED:
                copilot.script(then=fault.script)
                openai.script(then=fault.script)


def test_the_reliability_page_shows_all_eighteen():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.split("## Eighteen faults, side by side")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if re.match(r"\| \d+ \|", line)]
    head = next(line for line in section.splitlines() if line.startswith("| # |"))
    assert [line.split(" | ")[:2] for line in shown] == [[f"| {fault.number}", fault.name] for fault in FAULTS]
    assert {line.count(" | ") for line in shown} == {head.count(" | ")}


@pytest.mark.slow
def test_ours_meets_all_eighteen(tmp_path: Path):
    with gateways.ours(tmp_path) as gateway:
        columns = asyncio.run(run(gateway))

    assert list(columns) == ["AI Gateway, stream", "AI Gateway, one piece", "AI Gateway, /v1 stream"]
    empty = next(fault.number for fault in FAULTS if fault.script == "empty_text")
    cut = {fault.number for fault in FAULTS if ":" in fault.script}
    # An empty answer is an answer, and flagged. The third door cannot show a seam: it tells of a cut instead.
    allowed = {"AI Gateway, stream": {empty}, "AI Gateway, one piece": {empty}, "AI Gateway, /v1 stream": {empty, *cut}}
    for name, column in columns.items():
        assert len(column) == 18
        told = {number for number, outcome in column.items() if outcome.verdict is not Verdict.HELD}
        assert told == allowed[name]
        assert all(column[number].verdict is Verdict.TOLD for number in told)
        for fault in FAULTS:
            uncharged = fault.script in ("context_too_long", "html_200", "empty_text")
            assert column[fault.number].calls <= (5 if uncharged else 3), fault.name
