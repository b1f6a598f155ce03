"""The page's own routes."""

from __future__ import annotations

import asyncio
import errno
import json
from functools import partial

import pytest

from gateway_core import Reason, Settings
from gateway_core.errors import RateLimited, TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk
from webui import chats, streams
from webui.asking import Asker, ChatBusy, Question
from webui.chats import ChatStore
from webui.streams import EventStream

from .serving import BYTES, ask, calling, gateway, new_chat


def kinds(events):
    return [name for name, _ in events]


def turn_of(events):
    return next(told for name, told in events if name == "turn")


def text_of(events):
    return "".join(told["text"] for name, told in events if name == "delta")


async def test_an_answer_is_told_as_it_grows_and_kept():
    async with calling(ScriptedTier("copilot", ["Par", 0.2, "is."])) as client:
        chat = await new_chat(client)
        events = await ask(client, chat, "Capital of France?")
        kept = (await client.get(f"/chats/{chat}")).json()

    assert kinds(events) == ["chat", "asking", "meta", "delta", "delta", "turn", "chat"]
    assert [turn["text"] for turn in kept["turns"]] == ["Capital of France?", "Paris."]
    assert kept["turns"][1]["about"]["backend"] == "copilot"
    assert kept["title"] == "Capital of France?"


async def test_deltas_faster_than_a_page_can_show_are_joined():
    async with calling(ScriptedTier("copilot", ["word "] * 500)) as client:
        events = await ask(client, await new_chat(client), "Much?")

    assert text_of(events) == "word " * 500
    assert len(events) < 20


async def test_a_takeover_in_mid_answer_leaves_a_seam_and_its_reason():
    copilot = ScriptedTier("copilot", ["The capital is Par", TierBroken("copilot", "cut", reason=Reason.STALLED)])
    async with calling(copilot, ScriptedTier("cloud", ["is."])) as client:
        events = await ask(client, await new_chat(client), "Capital?")

    about = turn_of(events)["about"]
    assert text_of(events) == "The capital is Paris."
    assert about["seams"] == [{"at": 18, "from": "copilot", "to": "cloud", "reason": "stalled"}]
    assert about["why"] == ""  # the seam tells it


async def test_the_reason_for_a_failover_is_told():
    copilot = ScriptedTier("copilot", [RateLimited("copilot", "slow down", wait=40)])
    async with calling(copilot, ScriptedTier("cloud", ["ok"])) as client:
        events = await ask(client, await new_chat(client), "Hi")

    assert turn_of(events)["about"]["why"] == "copilot: rate limited, again in 40 s"


async def test_when_nobody_answers_the_conversation_says_so():
    async with calling(ScriptedTier("copilot", [TierBroken("copilot", "down")])) as client:
        chat = await new_chat(client)
        await ask(client, chat, "Hi")
        turn = (await client.get(f"/chats/{chat}")).json()["turns"][-1]

    assert turn["text"] == ""
    assert turn["about"]["problem"]["code"] == "no_tier_answered"


async def test_retry_and_edit_replace_what_came_after():
    tier = ScriptedTier("copilot", ["one"], ["two"], ["three"])
    async with calling(tier) as client:
        chat = await new_chat(client)
        await ask(client, chat, "A")
        await ask(client, chat, "B")
        await ask(client, chat, "A again", keep=0)
        kept = (await client.get(f"/chats/{chat}")).json()["turns"]

    assert [turn["text"] for turn in kept] == ["A again", "three"]
    assert [m.content for m in tier.prompts[1].messages] == ["A", "one", "B"]
    assert [m.content for m in tier.prompts[2].messages] == ["A again"]


async def test_later_turns_that_were_dropped_come_back_and_so_does_what_replaced_them():
    tier = ScriptedTier("copilot", ["one"], ["two"], ["three"], ["four"])
    async with calling(tier) as client:
        chat = await new_chat(client)
        turns = lambda told: [turn["text"] for turn in told.json()["turns"]]  # noqa: E731
        nothing = await client.post(f"/chats/{chat}/restore", json={})
        await ask(client, chat, "A")
        await ask(client, chat, "B")
        await ask(client, chat, "A again", keep=0, seen=4)
        await ask(client, chat, "A again", keep=0, seen=2)  # the answer alone is asked for anew
        stale = await client.post(f"/chats/{chat}/restore", json={"seen": 4})
        found = []
        for seen in (2, 4, 2):
            await client.post(f"/chats/{chat}/restore", json={"seen": seen})
            found.append(turns(await client.get(f"/chats/{chat}")))
        exported = await client.get(f"/chats/{chat}/export/json")
        await ask(client, chat, "C", seen=4)
        over = await client.post(f"/chats/{chat}/restore", json={"seen": 6})

    assert [reply.status_code for reply in (nothing, stale, over)] == [409, 409, 409]
    assert found == [["A", "one", "B", "two"], ["A again", "four"], ["A", "one", "B", "two"]]
    assert "again" not in exported.text


async def test_restoring_ends_the_answer_that_grows_and_keeps_what_there_was_of_it():
    tier = ScriptedTier("copilot", ["one"], ["two"], ["a beginning", 60.0, "never"])
    async with calling(tier) as client:
        chat = await new_chat(client)
        await ask(client, chat, "A")
        await ask(client, chat, "B")
        asking = asyncio.create_task(ask(client, chat, "A again", keep=0))
        while len(tier.prompts) < 3:  # noqa: ASYNC110 - the tier tells nobody
            await asyncio.sleep(0.01)
        (listed,) = (await client.get("/chats")).json()
        restored = await client.post(f"/chats/{chat}/restore", json={"seen": 2})
        await asyncio.wait([asking])
        (idle,) = (await client.get("/chats")).json()

    assert (listed["answering"], idle["answering"]) == (True, False)
    assert (restored.status_code, restored.json()["turns"], tier.cancelled) == (200, 4, 1)


async def test_a_wait_tells_who_is_asked_and_who_was_passed_over():
    copilot = ScriptedTier("copilot", [TierBroken("copilot", "late", reason=Reason.FIRST_TOKEN_TIMEOUT)])
    cloud = ScriptedTier("cloud", [Chunk(), Chunk(), Chunk(), "ok"])
    async with calling(copilot, cloud) as client:
        events = await ask(client, await new_chat(client), "Hi")

    told = [(name, value.get("backend") or value["why"]) for name, value in events[1:5]]
    assert told == [
        ("asking", "copilot"),
        ("passed", "copilot: was too slow to begin"),
        ("asking", "cloud"),
        ("thinking", "cloud"),
    ]


async def test_a_model_alone_is_asked_of_nobody():
    copilot, local = ScriptedTier("copilot"), ScriptedTier("local", ["here"])
    async with calling(copilot, local) as client:
        chat = await new_chat(client)
        refused = await client.post(f"/chats/{chat}/ask", json={"prompt": "Hi", "model": "llama3:latest"})
        events = await ask(client, chat, "Hi", model="llama3:latest", tier="local")

    assert (refused.status_code, copilot.calls, text_of(events)) == (422, 0, "here")
    assert refused.json()["detail"] == "body: choose who is asked for the model llama3:latest"


async def test_a_conversation_that_holds_only_files_is_listed_by_the_first_of_them():
    async with calling(ScriptedTier("copilot")) as client:
        chat = await new_chat(client)
        for name in ("minutes.txt", "second.txt"):
            await client.post(f"/chats/{chat}/documents?name={name}", content=b"text", headers=BYTES)
        (told,) = (await client.get("/chats")).json()
        await ask(client, chat, "Who came?")
        (asked,) = (await client.get("/chats")).json()

    assert (told["title"], told["turns"], told["documents"]) == ("minutes.txt", 0, 2)
    assert asked["title"] == "Who came?"


async def test_undo_drops_the_last_exchange():
    async with calling(ScriptedTier("copilot")) as client:
        chat = await new_chat(client)
        await ask(client, chat, "A")
        await ask(client, chat, "B")
        await client.post(f"/chats/{chat}/undo", json={"keep": 2})

        assert len((await client.get(f"/chats/{chat}")).json()["turns"]) == 2


async def test_choices_reach_the_gateway():
    copilot, local = ScriptedTier("copilot"), ScriptedTier("local", ["here"])
    async with calling(copilot, local) as client:
        chat = await new_chat(client)
        events = await ask(client, chat, "Hi", local_only=True, system="Be brief.", temperature=0.7)

    assert (copilot.calls, turn_of(events)["about"]["backend"]) == (0, "local")
    assert (local.prompts[0].messages[0].content, local.prompts[0].temperature) == ("Be brief.", 0.7)


async def test_files_are_read_cited_and_marked():
    cloud = ScriptedTier("cloud", ["Every 250 hours [1]."])
    async with calling(cloud) as client:
        chat = await new_chat(client)
        content = b"The filter must be changed every 250 hours."
        added = await client.post(f"/chats/{chat}/documents?name=..%2Fpump.txt", content=content, headers=BYTES)
        events = await ask(client, chat, "How often must the filter be changed?")

    (source,) = turn_of(events)["about"]["sources"]
    assert (added.status_code, added.json()["name"]) == (201, "pump.txt")
    assert [source["text"][start:end] for start, end in source["marks"]] == ["every 250 hours"]
    assert turn_of(events)["about"]["grounding"]["numbers_ok"] is True


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        pytest.param("empty.txt", b"", 422, "empty.txt: is empty", id="an empty file"),
        pytest.param("a.pdf", b"%PDF-1.4 broken", 422, "a.pdf: is a damaged PDF", id="a damaged file"),
        pytest.param("big.txt", b"x" * (25 * 2**20 + 1), 413, "big.txt: is larger than", id="too large"),
        pytest.param("p.exe", b"MZ\x90\0" + bytes(200), 422, "p.exe: ", id="a program"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_one_line(name, content, status, words):
    async with calling() as client:
        chat = await new_chat(client)
        reply = await client.post(f"/chats/{chat}/documents?name={name}", content=content, headers=BYTES)

    assert reply.status_code == status
    assert reply.json()["detail"].startswith(words)
    assert "\n" not in reply.json()["detail"]


async def test_a_form_of_a_foreign_page_adds_no_document():
    async with calling() as client:
        chat = await new_chat(client)
        reply = await client.post(f"/chats/{chat}/documents?name=a.txt", files={"file": ("a.html", b"<p>hi</p>")})

    assert reply.status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ""},
        {"prompt": "   "},
        {"prompt": "x", "tier": "moon"},
        {"prompt": "x", "surprise": 1},
        {"prompt": "x", "temperature": 9},
    ],
)
async def test_malformed_questions_are_refused(body):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post(f"/chats/{await new_chat(client)}/ask", json=body)

    assert reply.status_code == 422


async def test_a_prompt_of_a_million_characters_is_asked():
    tier = ScriptedTier("copilot")
    async with calling(tier) as client:
        await ask(client, await new_chat(client), "é" * 1_000_000)

    assert len(tier.prompts[0].messages[0].content) == 1_000_000


async def test_conversations_are_listed_renamed_exported_and_deleted():
    async with calling(ScriptedTier("copilot", ["Paris."])) as client:
        chat = await new_chat(client)
        await ask(client, chat, "Capital?")
        renamed = await client.patch(f"/chats/{chat}", json={"title": "Towns"})
        exported = await client.get(f"/chats/{chat}/export/ipynb")
        unknown = await client.get(f"/chats/{chat}/export/exe")
        deleted = await client.delete(f"/chats/{chat}")
        gone = await client.get(f"/chats/{chat}")

    assert renamed.json()["title"] == "Towns"
    assert exported.headers["content-disposition"] == 'attachment; filename="towns.ipynb"'
    assert json.loads(exported.text)["nbformat"] == 4
    assert [unknown.status_code, deleted.status_code, gone.status_code] == [404, 204, 404]


async def test_a_reader_who_leaves_ends_the_work_and_the_text_so_far_is_kept():
    tier = ScriptedTier("copilot", ["some text", 60.0, "more"])
    made = gateway(tier)
    store = ChatStore(Settings().ai_gateway_state_dir)
    chat = store.new()
    asker = Asker(store, lambda page: (made, ""))
    stream = EventStream(partial(asker.ask, chat, Question(prompt="Hi")))
    sent, leave = [], asyncio.Event()

    async def send(message):
        sent.append(message.get("body", b""))
        if b"some text" in sent[-1]:
            leave.set()

    async def receive():
        await leave.wait()
        return {"type": "http.disconnect"}

    async with asyncio.timeout(5):
        await stream({"type": "http"}, receive, send)

    turn = store.get(chat.id).turns[-1]
    assert tier.cancelled == 1
    assert (turn["text"], turn["about"]["is_cut"]) == ("some text", True)


async def test_a_second_question_in_a_busy_conversation_is_refused():
    made = gateway(ScriptedTier("copilot", ["a", 60.0]))
    store = ChatStore(Settings().ai_gateway_state_dir)
    chat = store.new()
    asker = Asker(store, lambda page: (made, ""))
    first = asker.ask(chat, Question(prompt="Hi"))
    await anext(first)

    with pytest.raises(Exception, match=chat.id):
        asker.ask(store.get(chat.id), Question(prompt="Me too"))
    await first.aclose()


def asking(*script):
    """An asker over one tier, and a conversation to ask in."""
    tier = ScriptedTier("copilot", *script)
    made, store = gateway(tier), ChatStore(Settings().ai_gateway_state_dir)
    return tier, store, Asker(store, lambda page: (made, "")), store.new()


async def test_of_two_questions_at_once_one_is_asked_though_neither_has_begun():
    tier, store, asker, chat = asking(["a"])
    first = asker.ask(chat, Question(prompt="Hi"))
    with pytest.raises(ChatBusy):
        asker.ask(store.get(chat.id), Question(prompt="Hi"))
    async for _ in first:
        pass

    assert (tier.calls, len(store.get(chat.id).turns)) == (1, 2)
    assert not asker.is_answering(chat.id)


async def test_a_client_that_is_gone_before_its_answer_begins_leaves_the_conversation_free():
    tier, _, asker, chat = asking(["a"])

    async def gone(message):
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the client's
        await EventStream(partial(asker.ask, chat, Question(prompt="Hi")))({"type": "http"}, asyncio.sleep, gone)

    assert (asker.is_answering(chat.id), tier.calls) == (False, 0)


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full after so many writes of conversations: `disk.room`."""

    class Disk:
        room = 1_000_000

    def written(path, value, write=chats._write):
        Disk.room -= 1
        if Disk.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    monkeypatch.setattr(chats, "_write", written)
    return Disk


@pytest.mark.parametrize("room", [0, 1, 2])
@pytest.mark.parametrize("ending", ["ok", TierBroken("copilot", "down")])
async def test_what_the_full_disk_has_no_room_for_is_shown_whole_and_told_not_to_be_kept(disk, room, ending):
    async with calling(ScriptedTier("copilot", ["Paris ", ending])) as client:
        chat = await new_chat(client)
        disk.room = room
        events = await ask(client, chat, "Capital?", keep=0)
        disk.room = 1000
        again = await ask(client, chat, "Capital?", keep=0)

    assert kinds(events)[-2:] == kinds(again)[-2:] == ["turn", "chat"]
    told = "Not kept, copy what you need: No space left on device." if room < 2 else None
    assert (turn_of(events)["about"].get("not_kept"), turn_of(again)["about"].get("not_kept")) == (told, None)


async def test_a_reader_who_leaves_when_the_disk_is_full_still_ends_the_work(disk):
    tier, _, asker, chat = asking(["a", 60.0])
    events = asker.ask(chat, Question(prompt="Hi"))
    disk.room = 0
    while (await anext(events))[0] != "delta":
        pass
    await events.aclose()

    assert (tier.cancelled, asker.is_answering(chat.id)) == (1, False)


async def test_a_disk_without_room_for_a_new_conversation_is_told(disk):
    disk.room = 0
    async with calling() as client:
        reply = await client.post("/chats", json={})

    assert (reply.status_code, "No space left on device" in reply.json()["detail"]) == (507, True)


@pytest.mark.parametrize("of_all", [True, False])
async def test_what_is_stopped_before_it_begins_asks_nobody_and_is_not_in_the_way(of_all):
    tier, store, asker, chat = asking(["a"])
    stopped = asker.ask(chat, Question(prompt="Hi"))
    await asker.stop(None if of_all else chat.id)
    with pytest.raises(asyncio.CancelledError):
        await anext(stopped)
    after = asker.ask(store.get(chat.id), Question(prompt="Hi again"))
    await stopped.aclose()

    assert asker.is_answering(chat.id)
    assert [name async for name, _ in after][-1] == "chat"
    assert (tier.calls, [turn["text"] for turn in store.get(chat.id).turns]) == (1, ["Hi again", "a"])


async def test_a_document_added_while_an_answer_grows_is_not_lost():
    store = ChatStore(Settings().ai_gateway_state_dir)
    chat = store.new()
    made = gateway(ScriptedTier("copilot", ["a"]))
    events = Asker(store, lambda page: (made, "")).ask(store.get(chat.id), Question(prompt="Hi"))
    await anext(events)
    from gateway_core import Document

    store.add_document(chat.id, Document("text", name="a.txt"))
    async for _ in events:
        pass

    found = store.get(chat.id)
    assert (len(found.documents), len(found.turns)) == (1, 2)


async def test_a_page_that_does_not_show_the_latest_turns_drops_none_of_them():
    async with calling(ScriptedTier("copilot", ["one"], ["two"])) as client:
        chat = await new_chat(client)
        await ask(client, chat, "A", seen=0)
        stale = [
            await client.post(f"/chats/{chat}/ask", json={"prompt": "B", "keep": 0, "seen": 0}),
            await client.post(f"/chats/{chat}/undo", json={"keep": 0, "seen": 4}),
        ]
        await ask(client, chat, "B", seen=2)
        kept = (await client.get(f"/chats/{chat}")).json()["turns"]

    assert [reply.status_code for reply in stale] == [409, 409]
    assert [turn["text"] for turn in kept] == ["A", "one", "B", "two"]


async def test_a_conversation_keeps_the_choices_of_its_questions_and_those_made_since():
    local = {"tier": None, "model": None, "local_only": True, "system": "Be brief.", "temperature": 0.7}
    async with calling(ScriptedTier("local", ["here"])) as client:
        chat = await new_chat(client)
        none = (await client.get(f"/chats/{chat}")).json()
        await ask(client, chat, "Hi", local_only=True, system="Be brief.", temperature=0.7)
        asked = (await client.get(f"/chats/{chat}")).json()
        changed = await client.put(f"/chats/{chat}/choices", json={"tier": "cloud"})
        refused = await client.put(f"/chats/{chat}/choices", json={"tier": "moon"})
        chosen = (await client.get(f"/chats/{chat}")).json()

    assert (none["choices"], asked["choices"], chosen["choices"]["tier"]) == (None, local, "cloud")
    assert (changed.status_code, refused.status_code) == (200, 422)
    assert chosen["updated"] == asked["updated"]  # it is no news of the conversation


class Sent:
    """What an event stream sends, and when; by the clock of the loop."""

    def __init__(self, *events):
        self.bodies, self.times = [], []
        self._events = events

    async def play(self):
        loop = asyncio.get_running_loop()

        async def play():
            for event in self._events:
                if isinstance(event, (int, float)):
                    await asyncio.sleep(event)
                else:
                    yield event

        async def send(message):
            self.bodies.append(message.get("body", b""))
            self.times.append(loop.time())

        async def receive():
            await asyncio.Event().wait()

        await EventStream(lambda tell: play())({"type": "http"}, receive, send)
        return self

    def at(self, words):
        return next(moment for moment, body in zip(self.times, self.bodies, strict=True) if words in body)


async def test_only_deltas_wait_for_each_other(monkeypatch):
    """With a pause that nobody would sit through: the first word comes at once, and so does the end."""
    monkeypatch.setattr(streams, "SECONDS_BETWEEN_EVENTS", 3600.0)
    delta = lambda text: ("delta", {"text": text})  # noqa: E731
    sent = Sent(("chat", {}), 0.01, ("meta", {}), 0.01, delta("one"), 0.01, delta("two"), 0.01, delta("three"), 0.01,
                ("turn", {"text": "all"}), 0.01, ("chat", {}), 0.01)  # fmt: skip
    async with asyncio.timeout(20):
        await sent.play()

    assert [body.count(b"event:") for body in sent.bodies if body] == [1, 1, 1, 2, 1]
    assert b'"two' + b'three"' in b"".join(sent.bodies)


class TestDrills:
    async def ask_with(self, client, fault, tier="copilot"):
        begun = await client.post("/drill", json={"tier": tier, "fault": fault})
        events = await ask(client, await new_chat(client), "Hi")
        over = await client.get("/drill")
        assert (begun.status_code, over.json()) == (200, {"waiting": None})
        return turn_of(events)

    @pytest.mark.parametrize(
        ("fault", "why"),
        [
            ("down", "copilot: could not be reached"),
            ("rate_limited", "copilot: rate limited, again in 45 s"),
            ("offline", "copilot: this laptop is offline; cloud: this laptop is offline"),
        ],
    )
    async def test_the_next_question_survives_the_fault(self, fault, why):
        tiers = ScriptedTier("copilot"), ScriptedTier("cloud", ["cloud"]), ScriptedTier("local", ["local"])
        async with calling(*tiers) as client:
            turn = await self.ask_with(client, fault)

        assert turn["about"]["why"] == why
        assert turn["text"] == ("local" if fault == "offline" else "cloud")

    async def test_a_cut_in_mid_answer_is_carried_on(self):
        copilot = ScriptedTier("copilot", ["Once upon a time ", "there was a very old gateway in a ", "small town."])
        async with calling(copilot, ScriptedTier("cloud", ["big city."])) as client:
            turn = await self.ask_with(client, "cut")

        assert turn["text"] == "Once upon a time there was a very old gateway in a big city."
        assert turn["about"]["drill"] == "copilot breaks off in mid-answer"

    async def test_no_real_circuit_hears_of_it(self):
        copilot = ScriptedTier("copilot", ["real"])
        async with calling(copilot, ScriptedTier("cloud"), failure_threshold=1) as client:
            await self.ask_with(client, "down")
            events = await ask(client, await new_chat(client), "Hi")

        assert text_of(events) == "real"

    async def test_the_question_of_another_page_does_not_meet_it(self):
        copilot = ScriptedTier("copilot", ["real"])
        async with calling(copilot, ScriptedTier("cloud", ["cloud"])) as client:
            await client.post("/drill", json={"tier": "copilot", "fault": "down", "page": "one"})
            others = [await ask(client, await new_chat(client), "Hi", **more) for more in ({}, {"page": "two"})]
            waiting = [(await client.get(f"/drill?page={page}")).json()["waiting"] for page in ("one", "two")]
            await client.delete("/drill?page=two")
            own = await ask(client, await new_chat(client), "Hi", page="one")

        assert [text_of(events) for events in (*others, own)] == ["real", "real", "cloud"]
        assert waiting == ["copilot is down", None]

    async def test_unknown_faults_are_refused(self):
        async with calling() as client:
            reply = await client.post("/drill", json={"tier": "copilot", "fault": "fire"})

        assert reply.status_code == 422
