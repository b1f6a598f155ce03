"""What is erased, what is kept, and that every file we write is one or the other."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from gateway_core import Gateway, Settings
from gateway_core.clock import SystemClock
from gateway_core.erasure import KEPT, STORES, erase, holdings
from gateway_core.rag import IndexCache
from gateway_core.rag.blobs import BlobFile
from gateway_core.secrets import Secret, write_private
from gateway_core.testing import ScriptedTier
from gateway_core.tiers import local_servers
from gateway_core.tiers.copilot import login, models
from gateway_core.tiers.copilot.tokens import TokenSources
from gateway_core.tiers.local import MODELS


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder that was lived in."""
    folder = tmp_path / "state"
    login.save_login(folder, "github.com", Secret("gho_0123456789"), at=0)
    local_servers.confirm(folder, "http://127.0.0.1:1234/v1")
    IndexCache(path=folder / "indexes.db").index(["The pond froze over. " * 50]).pack("pond", 500)
    write_private(folder / "conversations" / "one.json", b"{}")
    write_private(folder / "conversations" / "uploads" / "report.pdf", b"%PDF")
    for name in ("requests.db", "circuits.db", "circuits.db-wal", "salt", "copilot_models.json", f"{MODELS}/tiny.gguf"):
        write_private(folder / name, b"x")
    (folder / "diary.txt").write_bytes(b"somebody's own")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_content_and_logins_go_and_circuits_stay(state: Path):
    erased = erase(state)

    assert [holding.store.name for holding in erased.gone] == [
        "conversations", "indexes.db", "requests.db", "copilot.json",
    ]  # fmt: skip
    assert erased.left == ()
    assert names(state) == {
        "circuits.db", "circuits.db-wal", "salt", "copilot_models.json", "local_servers.json", MODELS, "diary.txt"
    }  # fmt: skip


def test_everything_leaves_models_and_what_is_not_ours(state: Path):
    erase(state, everything=True)

    assert names(state) == {MODELS, "diary.txt"}
    assert holdings(state, everything=True) == ()


def test_what_was_left_half_written_or_set_aside_goes_too(state: Path):
    for name in (".copilot.json.x1y2", "indexes.db-wal", "indexes.db-shm", "indexes.db.damaged-20260101-000000"):
        (state / name).write_bytes(b"gho_0123456789")
    erase(state)

    assert not {name for name in names(state) if "copilot.json" in name or "indexes" in name}


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_removed_and_not_followed(state: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"!")
    (state / "copilot.json").unlink()
    (state / "copilot.json").symlink_to(elsewhere / "precious")
    (state / "conversations" / "link").symlink_to(elsewhere)
    erase(state)

    assert (elsewhere / "precious").read_bytes() == b"!"
    assert not (state / "conversations").exists()


def test_what_cannot_be_removed_is_told(state: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    erased = erase(state)

    assert (state / "copilot.json", "Permission denied") in erased.left
    assert "copilot.json" not in {holding.store.name for holding in erased.gone}


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path):
    assert holdings(tmp_path / "no", everything=True) == ()
    assert erase(tmp_path / "no").gone == ()


def test_each_store_has_its_row():
    rows = {store.name for store in STORES} | set(KEPT)

    assert {login.FILE, models.FILE, local_servers.FILE, MODELS} <= rows


async def test_a_gateway_writes_nothing_that_is_not_listed(tmp_path: Path):
    settings = Settings()
    async with Gateway.from_settings(settings) as gateway:
        await gateway.ask_documents("Why did the heron leave?", ["The heron left because the pond froze. " * 40])
        await gateway.status()
    listed = {
        path.name for holding in holdings(settings.ai_gateway_state_dir, everything=True) for path in holding.paths
    }

    assert names(settings.ai_gateway_state_dir) <= listed | set(KEPT)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_every_store_is_its_owners_alone(tmp_path: Path, state: Path):
    before = os.umask(0)
    try:
        folder = tmp_path / "fresh"
        async with Gateway.from_settings(Settings(ai_gateway_state_dir=folder)) as gateway:
            await gateway.ask_documents("Why did the heron leave?", ["The heron left because the pond froze. " * 40])
            gateway.router.rungs[0].forget()
        login.save_login(folder, "github.com", Secret("gho_0123456789"), at=0)
        local_servers.confirm(folder, "http://127.0.0.1:1234/v1")
    finally:
        os.umask(before)

    assert len(names(folder)) >= 4
    assert {path.name for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077} == set()


def test_a_scripted_gateway_is_no_store(tmp_path: Path):
    Gateway([ScriptedTier("local", ["yes"])], settings=Settings(ai_gateway_state_dir=tmp_path / "none"))

    assert not (tmp_path / "none").exists()


class TestInARunningGateway:
    DOCUMENT = "The heron left because the pond froze. " * 400

    async def ask_of(self, gateway: Gateway) -> None:
        await gateway.ask_documents("Why did the heron leave?", [self.DOCUMENT])

    async def test_files_and_what_memory_holds_of_them_go_together(self, tmp_path: Path):
        folder = tmp_path / "state"
        login.save_login(folder, "github.com", Secret("gho_0123456789"), at=0)
        async with Gateway.from_settings(Settings(ai_gateway_state_dir=folder)) as gateway:
            copilot = gateway.router.rungs[0]
            await self.ask_of(gateway)
            assert copilot.identity is not None
            erased = await gateway.erase()

            assert {holding.store.name for holding in erased.gone} >= {"indexes.db", "copilot.json"}
            assert await gateway.journal.find() is None
            assert (copilot.identity, copilot.missing() is None) == (None, False)
            assert {"indexes.db", "copilot.json", "requests.db"} & names(folder) == set()
            assert next(t for t in (await gateway.status()).tiers if t.backend == "copilot").available is False

            await self.ask_of(gateway)  # it goes on, with files made anew
            assert "indexes.db" in names(folder)

    async def test_a_login_that_was_being_read_meanwhile_is_not_used(self, tmp_path: Path):
        folder = tmp_path / "state"
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow_gh(host: str) -> str | None:
            asked.set()
            await answer.wait()
            return "gho_of_gh"

        sources = TokenSources(
            Settings(ai_gateway_state_dir=folder, copilot_use_gh=True), SystemClock(), run_gh=slow_gh
        )
        looking = asyncio.create_task(sources.look())
        await asyncio.wait_for(asked.wait(), 5)
        sources.forget_saved()
        answer.set()

        assert await looking is None
        assert (await sources.look(anew=True)) is not None

    def test_an_index_that_was_being_made_meanwhile_is_not_kept(self, tmp_path: Path):
        cache = IndexCache(path=tmp_path / "indexes.db")
        under_way = cache.index([self.DOCUMENT])
        cache.clear()
        under_way.pack("heron", 500)

        assert cache.find(under_way.documents) is None
        assert IndexCache(path=tmp_path / "indexes.db").find(under_way.documents) is None

    def test_the_file_is_not_removed_under_another_threads_transaction(self, tmp_path: Path):
        blobs = BlobFile(tmp_path / "blobs.db", 10_000)
        is_inside, may_end = threading.Event(), threading.Event()

        class Slow(dict[str, bytes]):
            def items(self):
                is_inside.set()
                assert may_end.wait(20)
                return super().items()

        writer = threading.Thread(target=blobs.put_all, args=(Slow(a=b"x"),))
        eraser = threading.Thread(target=blobs.clear)
        writer.start()
        assert is_inside.wait(20)
        eraser.start()
        eraser.join(0.3)
        removed_too_early = not (tmp_path / "blobs.db").exists()
        may_end.set()
        writer.join()
        eraser.join()

        assert not removed_too_early
        assert names(tmp_path) == {"home"}
