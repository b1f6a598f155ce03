"""A marked token and a marked prompt go through every failure: neither may come out anywhere but on the wire."""

from __future__ import annotations

import io
import logging
import os
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_core.errors import GatewayError
from gateway_core.testing import CopilotSimulator, OpenAISimulator
from gateway_core.testing.clock import ManualClock
from gateway_core.tiers.cloud import build_cloud
from gateway_core.tiers.copilot import CopilotTier
from gateway_core.tiers.copilot.tokens import TokenSources
from gateway_core.types import Prompt

from .asking import a_prompt, ask, settings_for

TOKEN = "gho_CANARYt0kenT0KENt0kenT0KENt0ken"
KEY = "sk-CANARYkeyKEYkeyKEYkeyKEYkey"
PROMPT = "CANARY-PROMPT the vault opens with 4815162342 at dawn"
FAULTS = [
    "ok", "status_400:message=" + PROMPT, "status_422:message=" + PROMPT, "status_401:message=Bearer " + TOKEN,
    "status_403", "status_404", "status_408", "status_413", "status_421", "status_429:message=" + KEY, "status_500",
    "status_503", "html_200", "redirect:http://elsewhere.example/", "status_511", "bad_schema", "bad_json",
    "empty_body", "huge_body:20", "gzip_bomb", "cut_after:5", "close_after:5", "end_after:5",
    "error_after:5,message=" + PROMPT, "error_first:message=" + KEY, "bad_line_after:5", "long_line:2000000",
    "no_finish", "short_body", "reset_after_request",
]  # fmt: skip


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[io.StringIO]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith(("_TOKEN", "_API_KEY"))]:
        monkeypatch.delenv(name)
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    loggers = [logging.getLogger(name) for name in ("gateway_core", "httpx", "httpcore", "asyncio")]
    before = [(log, log.level) for log in loggers]
    for log in loggers:
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
    yield out
    for log, level in before:
        log.removeHandler(handler)
        log.setLevel(level)


def everything_told(failure: BaseException) -> str:
    """What a traceback with locals would show of our own frames, and every word of the error and its relatives."""
    told = traceback.format_exception(failure)
    seen: list[BaseException | None] = [failure]
    for one in seen:
        if one is None:
            continue
        told.append(repr(vars(one)))
        for related in (one.__context__, one.__cause__):
            if related is not None and related not in seen:
                seen.append(related)
                told.append(repr(related))
    return "\n".join(told)


def tokens_in_frames(failure: BaseException) -> str:
    """The marked secrets among the locals of our frames; the prompt is theirs by right."""
    stack = traceback.TracebackException.from_exception(failure, capture_locals=True).stack
    told = "".join(repr(frame.locals) for frame in stack if "gateway_core" in frame.filename)
    return " ".join(secret for secret in (TOKEN, KEY) if secret in told)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("backend", ["copilot", "cloud"])
async def test_neither_token_nor_prompt_comes_out(http, tmp_path, logged, backend, fault):
    told = ""
    simulator: Any = CopilotSimulator() if backend == "copilot" else OpenAISimulator()
    with simulator:
        simulator.script(fault)
        tier = (
            copilot_tier(simulator, http, tmp_path) if backend == "copilot" else cloud_tier(simulator, http, tmp_path)
        )
        try:
            await ask(tier, a_prompt(PROMPT))
        except GatewayError as failure:
            told = everything_told(failure)
            told += "" if "error_first" in fault else tokens_in_frames(failure)  # it holds what the provider echoed
        told += repr(await tier.info()) + repr(tier.missing()) + repr(tier.identity) + repr(vars(tier))
        await tier.aclose()
    files = [path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    for place in (told, logged.getvalue(), *files):
        assert "CANARY" not in place


def copilot_tier(simulator: Any, http: Any, tmp_path: Any) -> CopilotTier:
    settings = settings_for(
        tmp_path, github_copilot_token=TOKEN, copilot_github_api=simulator.url, copilot_use_gh=False,
        copilot_editor_login=False,
    )  # fmt: skip
    return CopilotTier(settings, ManualClock(), http, sources=TokenSources(settings, ManualClock(), home=tmp_path))


def cloud_tier(simulator: Any, http: Any, tmp_path: Any) -> Any:
    return build_cloud(
        settings_for(tmp_path, openai_api_key=KEY, cloud_base_url=simulator.base_url), ManualClock(), http
    )


def test_the_canary_would_be_seen():
    assert "CANARY" in everything_told(ValueError(PROMPT))
    assert "CANARY" in repr(Prompt((), question=PROMPT))
