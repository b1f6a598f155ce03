"""Erasing from the page: what goes from the disk, from memory, and from answers under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway_core import Document, Gateway, Settings
from gateway_core.secrets import write_private
from gateway_core.testing import ScriptedTier
from server import create_app
from webui.api import PageApi
from webui.chats import ChatStore, NoSuchChat

from .browser import until
from .serving import BASE, BYTES, ask, calling, new_chat

LONG = "The heron left because the pond froze. " * 400


@pytest.fixture
def state() -> Path:
    """A state folder with something in every store."""
    folder = Settings().ai_gateway_state_dir
    for name in ("indexes.db", "embeddings.db", "copilot.json", "circuits.db", "models/tiny.gguf", "providers.toml"):
        write_private(folder / name, b"{}")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_page_lists_what_would_go_and_what_stays(state):
    async with calling(ScriptedTier("copilot")) as client:
        await ask(client, await new_chat(client), "Hi")
        told = (await client.get("/erase")).json()

    assert [row["name"] for row in told["goes"]] == ["conversations", "indexes.db", "embeddings.db", "copilot.json"]
    assert all(row["holds"] and row["bytes"] for row in told["goes"])
    assert any("model files" in line for line in told["stays"])
    assert any(line.startswith("circuits") for line in told["stays"])


async def test_everything_listed_goes_and_the_rest_stays(state):
    async with calling(ScriptedTier("copilot")) as client:
        chat = await new_chat(client)
        await client.post(f"/chats/{chat}/documents?name=a.txt", content=b"text", headers=BYTES)
        await ask(client, chat, "Hi")
        erased = await client.post("/erase", json={})
        listed = (await client.get("/chats")).json()
        gone = await client.get(f"/chats/{chat}")
        afterwards = await ask(client, await new_chat(client), "Hi again")

    assert (erased.status_code, erased.json()) == (200, {"left": []})
    assert (listed, gone.status_code) == ([], 404)
    assert names(state) - {"conversations"} == {"circuits.db", "models", "providers.toml"}
    assert [name for name, _ in afterwards][-2:] == ["turn", "chat"]


async def test_what_cannot_be_removed_is_told(state, monkeypatch):
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    async with calling(ScriptedTier("copilot")) as client:
        erased = (await client.post("/erase", json={})).json()

    assert "copilot.json: Permission denied" in erased["left"]


async def test_an_answer_that_grows_is_stopped_and_not_kept():
    tier = ScriptedTier("copilot", ["a beginning", 60.0, "never"])
    async with calling(tier) as client:
        chat = await new_chat(client)
        answer = asyncio.create_task(client.post(f"/chats/{chat}/ask", json={"prompt": "Long?"}))
        await until(lambda: tier.calls == 1, 20)
        await client.post("/erase", json={})
        async with asyncio.timeout(20):
            told = (await answer).text
        listed = (await client.get("/chats")).json()

    assert (tier.cancelled, listed) == (1, [])
    assert "event: turn" not in told  # a cut answer does not look whole


async def test_a_file_that_was_being_read_meanwhile_is_not_kept():
    store = ChatStore(Settings().ai_gateway_state_dir)
    chat = store.new()
    store.erase()

    with pytest.raises(NoSuchChat):
        store.add_document(chat.id, Document("text", name="a.txt"))
    assert not (Settings().ai_gateway_state_dir / "conversations").exists()


async def test_indexes_in_memory_and_on_disk_go_and_are_made_again(tmp_path):
    """A real gateway with real stores; it goes on answering from documents."""
    settings = Settings(ai_gateway_state_dir=tmp_path / "state")
    async with Gateway.from_settings(settings) as gateway:
        app = create_app(gateway)
        app.router.routes.extend(PageApi(gateway).routes())
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            sizes = []
            for _ in range(2):
                chat = await new_chat(client)
                await client.post(f"/chats/{chat}/documents?name=a.txt", content=LONG.encode(), headers=BYTES)
                await ask(client, chat, "Why did the heron leave?")
                sizes.append((settings.ai_gateway_state_dir / "indexes.db").stat().st_size)
                assert (await client.post("/erase", json={})).json() == {"left": []}
                assert names(settings.ai_gateway_state_dir) & {"conversations", "indexes.db"} == set()

    assert sizes[0] == sizes[1] > len(LONG) / 4


async def test_replies_kept_for_a_repeated_request_are_forgotten():
    tier = ScriptedTier("copilot", ["one"], ["two"])
    gateway = Gateway((tier,), settings=Settings(ai_gateway_store="memory"))
    app = create_app(gateway)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:

        async def asked() -> str:
            reply = await client.post("/ai/query", json={"prompt": "Hi"}, headers={"idempotency-key": "k"})
            return str(reply.json()["response"])

        before = [await asked(), await asked()]
        await gateway.erase()

        assert (before, await asked()) == (["one", "one"], "two")


async def test_a_reply_under_way_goes_on_but_is_not_kept_for_a_repeated_request():
    tier = ScriptedTier("copilot", ["one", 0.3, " and whole"], ["two"])
    gateway = Gateway((tier,), settings=Settings(ai_gateway_store="memory"))
    transport = httpx.ASGITransport(app=create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:

        async def asked() -> str:
            reply = await client.post("/ai/query", json={"prompt": "Hi"}, headers={"idempotency-key": "k"})
            return str(reply.json()["response"])

        running = asyncio.create_task(asked())
        await until(lambda: tier.calls == 1, 20)
        await gateway.erase()

        assert (await asyncio.gather(running, asked()), await asked()) == (["one and whole"] * 2, "two")
