"""What is kept of a request: how it was decided, whatever its end, and nothing that was said."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway_core import AllTiersFailed, AnswerInterrupted, Gateway, PromptRefused, Settings, Usage
from gateway_core.errors import TierBroken, TierUnreachable
from gateway_core.journal import FILE, Journal, JournalUnreadable, read
from gateway_core.telemetry import Happening
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason

CANARY = "canary-4711"


def gateway(*tiers: ScriptedTier, journal: Journal | None = None, **settings: Any) -> Gateway:
    return Gateway(tiers, settings=Settings(ai_gateway_store="memory", **settings), journal=journal)


def broken(tier: str = "copilot") -> TierBroken:
    return TierBroken(tier, f"it said {CANARY}", reason=Reason.UPSTREAM_5XX, may_have_billed=True)


def finished(text: str) -> list[str | Chunk]:
    return [text, Chunk(finish_reason="stop", usage=Usage(7, 2), model="answering-model")]


def request(id: str, **facts: Any) -> Happening:
    return Happening("request", 0.0, {"id": id, "begun": 0.0, "ms": 1.0, "attempts": (), **facts})


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)


async def test_a_failover_is_kept_with_reasons_times_and_tokens():
    async with gateway(ScriptedTier("copilot", [broken()]), ScriptedTier("cloud", finished("fine"))) as asked:
        answer = await asked.ask("x")
        record = await asked.journal.find(answer.id)

    assert record is not None
    first, second = record["attempts"]
    assert (record["outcome"], record["backend"], record["model"]) == ("answered", "cloud", "answering-model")
    assert (first["outcome"], first["reason"], first["asked_model"]) == ("failed", "upstream_5xx", "scripted-copilot")
    assert first["may_have_billed"] is True
    assert (second["outcome"], second["input_tokens"], second["output_tokens"]) == ("answered", 7, 2)
    assert 0 <= first["begun_ms"] <= second["begun_ms"] <= second["first_token_ms"] <= record["ms"]


async def test_a_cut_is_kept_with_its_segments():
    tiers = ScriptedTier("copilot", ["Half ", broken()]), ScriptedTier("cloud", finished("more"))
    async with gateway(*tiers) as asked:
        async with aclosing(asked.stream("x")) as events:
            async for _ in events:
                pass
        record = await asked.journal.find()

    assert record is not None
    assert record["segments"] == [
        {"backend": "copilot", "start": 0, "end": 5},
        {"backend": "cloud", "start": 5, "end": 9},
    ]
    assert [(a["outcome"], a["segment"]) for a in record["attempts"]] == [("interrupted", 0), ("answered", 1)]


@pytest.mark.parametrize(
    ("tiers", "options", "outcome", "reason"),
    [
        ((["ok"],), {}, "answered", None),
        (([broken()], [broken("cloud")]), {}, "unanswered", "no_tier_answered"),
        ((["Half", broken()],), {"on_interrupt": "stop"}, "interrupted", "upstream_5xx"),
        (([PromptRefused("no", field="prompt")],), {}, "refused", "prompt_refused"),
        ((["ok"],), {"prompt": "  "}, "refused", "prompt_refused"),
        (([],), {"tier": "cloud"}, "unanswered", "no_tier_answered"),
    ],
)
async def test_every_end_is_kept_once(tiers, options, outcome, reason):
    names = ("copilot", "cloud")
    scripted = [ScriptedTier(name, script) for name, script in zip(names, tiers, strict=False)]
    heard: list[Happening] = []
    async with gateway(*scripted) as asked:
        asked.telemetry.listen(heard.append)
        with suppress(PromptRefused, AllTiersFailed, AnswerInterrupted):
            await asked.ask(**{"prompt": "x", **options})

    ends = [h.facts for h in heard if h.kind == "request"]
    assert [(f["outcome"], f["reason"]) for f in ends] == [(outcome, reason)]


async def test_a_reader_who_leaves_is_kept_as_cancelled():
    async with gateway(ScriptedTier("copilot", ["Half", 60.0])) as asked:
        async with aclosing(asked.stream("x")) as events:
            async for _ in events:
                break
        record = await asked.journal.find()

    assert record is not None
    assert (record["outcome"], record["attempts"][0]["outcome"]) == ("cancelled", "cancelled")


async def test_documents_are_kept_as_numbers():
    async with gateway(ScriptedTier("copilot", finished("ok [1]"))) as asked:
        await asked.ask(f"what of {CANARY}?", documents=[f"It speaks of {CANARY}.", "And of another thing."])
        record = await asked.journal.find()

    assert record is not None
    assert record["task"] == "rag"
    assert record["retrieval"]["documents"] == 2
    assert record["retrieval"]["passages"] >= 1
    assert CANARY not in json.dumps(record)


async def test_nothing_that_was_said_is_in_the_file(tmp_path: Path):
    journal = Journal(tmp_path / FILE)
    tiers = ScriptedTier("copilot", [broken()]), ScriptedTier("cloud", finished(f"{CANARY} too"))
    async with gateway(*tiers, journal=journal) as asked:
        answer = await asked.ask(CANARY, system=CANARY, documents=[CANARY])

    assert read(tmp_path / FILE, answer.id) is not None
    assert not any(CANARY.encode() in data for data in contents(tmp_path))


async def test_the_file_is_private_and_shared_and_bounded(tmp_path: Path):
    path = tmp_path / "state" / FILE
    one, other = Journal(path, 3), Journal(path, 3)
    for number in range(4):
        one.hear(request(f"one-{number}"))
        await one.aclose()
    other.hear(request("other", begun=5.0))
    await other.aclose()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (await one.find())["id"] == "other"  # type: ignore[index]
    assert [await Journal(path).find(f"one-{n}") is not None for n in range(4)] == [False, False, True, True]


def test_two_processes_write_one_file(tmp_path: Path):
    path = tmp_path / FILE
    script = (
        "import asyncio, sys; from pathlib import Path; from gateway_core.journal import Journal;"
        "from gateway_core.telemetry import Happening\n"
        "async def main():\n"
        "    journal = Journal(Path(sys.argv[1]))\n"
        "    for n in range(40):\n"
        "        journal.hear(Happening('request', 0.0, {'id': f'{sys.argv[2]}-{n}', 'begun': 0.0, 'ms': 1.0}))\n"
        "        await asyncio.sleep(0.002)\n"
        "    await journal.aclose()\n"
        "asyncio.run(main())"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM request").fetchone() == (80,)


async def test_a_locked_file_delays_no_answer_and_is_caught_up_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway_core.journal.PATIENCE", 2.0)
    path = tmp_path / FILE
    journal = Journal(path)
    async with gateway(ScriptedTier("copilot", ["ok"]), journal=journal) as asked:
        first = await asked.ask("x")
        await until(lambda: path.exists() and _kept(path, first.id))
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        try:
            begun = asyncio.get_running_loop().time()
            second = await asked.ask("y")
            took = asyncio.get_running_loop().time() - begun
            await until(lambda: journal.trouble is not None)
            notes = (await asked.status()).notes
            record = await journal.find(second.id)  # what this process asked, it knows all the same
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        third = await asked.ask("z")
        await until(lambda: _kept(path, third.id))

    assert second.notes == ()
    assert took < 1.5  # the patience for the lock is longer
    assert "locked" in " ".join(notes)
    assert record is not None
    assert _kept(path, second.id)
    assert journal.trouble is None


def _kept(path: Path, id: str) -> bool:
    try:
        return read(path, id) is not None
    except JournalUnreadable:
        return False


async def test_a_models_name_that_is_no_unicode_is_kept_and_what_follows_too(tmp_path: Path):
    journal = Journal(tmp_path / FILE)
    journal.hear(request("first", model="m\ud800"))
    await until(lambda: read(tmp_path / FILE, "first") is not None)
    journal.hear(request("second", model="m"))
    await until(lambda: read(tmp_path / FILE, "second") is not None)
    await journal.aclose()

    assert (read(tmp_path / FILE, "first") or {})["model"] == "m?"


async def test_a_damaged_file_is_set_aside(tmp_path: Path):
    path = tmp_path / FILE
    path.write_bytes(b"not a database at all, but long enough to be one" * 100)
    with pytest.raises(JournalUnreadable, match="not a database"):
        read(path)
    journal = Journal(path)
    journal.hear(request("new"))
    await journal.aclose()

    assert read(path, "new") is not None
    assert any(data.startswith(b"not a database") for data in contents(tmp_path))


async def test_a_file_of_another_program_is_left_alone(tmp_path: Path):
    path = tmp_path / FILE
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    journal = Journal(path)
    journal.hear(request("new"))
    await journal.aclose()

    assert "another program" in str(journal.trouble)
    assert path.read_bytes() == before
    assert await journal.find("new") is not None


async def test_a_folder_that_cannot_be_made_is_a_note(tmp_path: Path):
    (tmp_path / "state").write_bytes(b"a file stands where the folder should")
    journal = Journal(tmp_path / "state" / FILE)
    journal.hear(request("new"))
    await journal.aclose()

    assert "not up to date" in str(journal.trouble)


async def test_what_was_erased_while_it_runs_stays_erased(tmp_path: Path):
    path = tmp_path / FILE
    journal = Journal(path)
    journal.hear(request("old"))
    await journal.aclose()
    path.unlink()
    journal.hear(request("new"))
    await journal.aclose()

    assert (read(path, "old"), read(path, "new") is not None) == (None, True)


async def test_what_could_not_be_written_before_it_was_erased_is_not_written_later(tmp_path: Path):
    path = tmp_path / FILE
    journal = Journal(path)
    journal.hear(request("first"))
    await until(lambda: _kept(path, "first"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        journal.hear(request("erased"))
        await until(lambda: not journal._unwritten)  # the thread has it, and waits for the file
        journal.forget()
        await until(lambda: journal.trouble is not None)
        other.execute("ROLLBACK")
    journal.hear(request("later"))
    await until(lambda: _kept(path, "later"))
    await journal.aclose()

    assert read(path, "erased") is None


async def test_nothing_is_kept_when_switched_off(tmp_path: Path):
    async with gateway(ScriptedTier("copilot"), ai_gateway_journal=0) as asked:
        await asked.ask("x")
        assert await asked.journal.find() is None
    journal = Journal(tmp_path / FILE, 0)
    journal.hear(request("x"))
    assert (contents(tmp_path), journal._thread) == ([], None)


async def test_the_thread_ends_with_the_gateway(tmp_path: Path):
    journal = Journal(tmp_path / FILE)
    async with gateway(ScriptedTier("copilot"), journal=journal) as asked:
        await asked.ask("x")
        mine = journal._thread
        assert mine is not None
    assert not mine.is_alive()


async def test_settings_choose_file_or_memory(tmp_path: Path):
    shared = Gateway.from_settings(Settings(ai_gateway_state_dir=tmp_path, copilot_use_gh=False))
    alone = Gateway.from_settings(Settings(ai_gateway_state_dir=tmp_path, ai_gateway_store="memory"))
    async with shared, alone:
        assert (shared.journal.path, alone.journal.path) == (tmp_path / FILE, None)


async def test_unreachable_tiers_are_kept_with_what_was_known_of_them():
    async with gateway(ScriptedTier("copilot", [TierUnreachable("copilot", "no route")])) as asked:
        for _ in range(4):
            with suppress(AllTiersFailed):
                await asked.ask("x")
        record = await asked.journal.find()

    assert record is not None
    (attempt,) = record["attempts"]
    assert (attempt["outcome"], attempt["reason"]) == ("skipped", "circuit_open")
    assert 0 < attempt["retry_after"] <= 300
