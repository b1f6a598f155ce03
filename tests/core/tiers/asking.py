"""Asking a tier as the router does: once more when it has mended the cause, each reason once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway_core.deadline import Deadline
from gateway_core.errors import PromptRefused, TierFailed
from gateway_core.settings import Settings
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.simulators.copilot import QUOTA_RESET
from gateway_core.tiers.base import Call
from gateway_core.types import Chunk, Message, Prompt, Reason

HANG_GUARD = 20.0
TOKEN = "gho_CANARYs3cr3tOfTheUser0000000001"
WALL = QUOTA_RESET - 8 * 86_400.0
CHAT_MODEL, RESPONSES_MODEL = "gemini-3.8-flash", "gpt-6-luna"


@dataclass
class Asked:
    text: str = ""
    chunks: list[Chunk] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mended: list[Reason] = field(default_factory=list)
    sent: int = 0

    @property
    def finish_reason(self) -> str | None:
        return self.chunks[-1].finish_reason if self.chunks else None


def a_prompt(text: str = "What is the capital of France?", **rest: Any) -> Prompt:
    return Prompt((Message("user", text),), **rest)


async def ask(tier: Any, prompt: Prompt | None = None, *, connect_timeout: float = 2.0) -> Asked:
    """The whole answer; raises what the router would finally see."""
    prompt = prompt or a_prompt()
    asked = Asked()

    def sent() -> None:
        asked.sent += 1

    while True:
        asked.text, asked.chunks = "", []
        call = Call(Deadline.after(300, ManualClock()), connect_timeout, sent)
        try:
            async with asyncio.timeout(HANG_GUARD), aclosing(tier.stream(prompt, call)) as chunks:
                async for chunk in chunks:
                    asked.chunks.append(chunk)
                    asked.text += chunk.text
                    asked.notes += [chunk.note] if chunk.note else []
                    if chunk.finish_reason is not None:
                        return asked
            raise AssertionError("the stream ended without an end marker")
        except TierFailed as failure:
            if not failure.again or asked.text or failure.reason in asked.mended:
                failure.asked = asked  # type: ignore[attr-defined]
                raise
            asked.mended.append(failure.reason)


async def refusal(tier: Any, prompt: Prompt | None = None) -> Any:
    """The failure that the router would finally see; the token is not in it."""
    with pytest.raises((TierFailed, PromptRefused)) as raised:
        await ask(tier, prompt)
    found: Any = raised.value
    assert TOKEN not in f"{found} {getattr(found, 'detail', '')} {found.cure}"
    return found


def settings_for(tmp_path: Any, **fields: Any) -> Settings:
    """Settings that come from nowhere but here."""
    return Settings(_env_file=None, ai_gateway_state_dir=tmp_path / "state", **fields)  # type: ignore[call-arg]
