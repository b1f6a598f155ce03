"""What the first minute promises is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx

from gateway_core import Gateway, Settings
from gateway_core.cli.arguments import parser
from server import create_app

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


async def test_the_first_example_quotes_and_cites_the_sentence_about_thirty_days():
    body = re.search(r"/ai/query/rag .*?-d '(\{.*?\})'", README, re.DOTALL)
    assert body is not None
    settings = Settings(copilot_use_gh=False, copilot_editor_login=False)
    async with (
        Gateway.from_settings(settings) as gateway,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(gateway)), base_url="http://127.0.0.1:8000"
        ) as client,
    ):
        reply = await client.post("/ai/query/rag", json=json.loads(body[1]))
    assert set(reply.json()) == {"response", "backend", "state"}
    assert (reply.json()["backend"], reply.json()["state"]) == ("local", "closed")
    assert "customers may return items within 30 days. [1]" in reply.json()["response"]


def test_every_command_and_file_it_names_exists():
    commands = set(re.findall(r"`?ai-gateway ([a-z]+)", README))
    known = parser().format_help()
    assert [c for c in commands if not re.search(rf"^ +{c}\b", known, re.MULTILINE)] == []
    for path in re.findall(r"\]\((docs/[\w.-]+)\)|(\./scripts/\w+)", README):
        assert (ROOT / (path[0] or path[1])).exists(), path
