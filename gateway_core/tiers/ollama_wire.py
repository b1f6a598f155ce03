"""Ollama's own dialect: the body of `/api/chat`, its stream, and what its errors mean."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from ..errors import TierBroken, TierFailed, TierUnavailable
from ..types import Chunk, Message, Prompt, Reason, Usage
from .control_tokens import defuse_messages
from .openai_wire import wants_tokens
from .parts import others_in, parts_of
from .thinking import ThinkingFilter
from .token_estimate import estimated_tokens, overflow
from .wire import Joiner, json_lines

TIER = "local"
KEEP_ALIVE = "30m"
LEAST_ANSWER = 256
_BASE64 = ";base64,"
_LONGEST_HEAD = 200  # of a data: URL: its media type and parameters

# Fields of the compatible surfaces that Ollama knows under `options`.
_OPTIONS = ("seed", "top_p", "top_k", "stop", "frequency_penalty", "presence_penalty", "repeat_penalty", "min_p")

_MEMORY = re.compile(
    r"out of memory|failed to allocate|unable to allocate|cannot allocate|more system memory|bad_alloc", re.IGNORECASE
)
_CRASH = re.compile(
    r"no longer running|has terminated|unexpectedly stopped|timed out waiting for|exit status|signal:", re.IGNORECASE
)
_CONTEXT = re.compile(r"exceed_context_size|longer than the context|exceeds? the (?:available )?context", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What `/api/show` tells about a model, and the window we give it."""

    window: int
    capabilities: tuple[str, ...] = ()

    @property
    def can_call_tools(self) -> bool:
        return "tools" in self.capabilities

    @property
    def is_blind(self) -> bool:
        """Known to be unable to look at pictures."""
        return bool(self.capabilities) and "vision" not in self.capabilities


def load_body(model: str, window: int) -> dict[str, Any]:
    """Have the model loaded, with the options of every later call: others would load it again."""
    return {"model": model, "messages": [], "keep_alive": KEEP_ALIVE, "options": {"num_ctx": window}}


def chat_body(model: str, prompt: Prompt, window: int) -> dict[str, Any]:
    """One question. Every field here is sent for a reason, see the comments."""
    wants = prompt.passthrough
    limit = prompt.max_tokens or wants_tokens(prompt)
    answer = max(LEAST_ANSWER, window - estimated_tokens(prompt))
    options: dict[str, Any] = {name: wants[name] for name in _OPTIONS if wants.get(name) is not None}
    options |= {
        # The default is 4096 without a large graphics card; a changing value makes Ollama load the model anew.
        "num_ctx": window,
        # Within the window: beyond it Ollama silently forgets the beginning.
        "num_predict": min(limit, answer) if limit else answer,
    }
    if prompt.temperature is not None:
        options["temperature"] = prompt.temperature
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in defuse_messages(prompt.messages)],
        # Not streamed, no byte comes before the last word, and time-outs would strike on slow machines.
        "stream": True,
        # The default is to think wherever the model can: half a minute of nothing on a CPU, at times all there is.
        "think": "low" if "gpt-oss" in model.lower() else False,
        # The default drops the oldest turns, or half of a long question, without a word.
        "truncate": False,
        # The default is five minutes; a fallback is asked more rarely than that.
        "keep_alive": KEEP_ALIVE,
        "options": options,
    }
    if wants.get("tools"):
        body["tools"] = wants["tools"]
    form = wants.get("response_format") or {}
    if form.get("type") == "json_object":
        body["format"] = "json"
    elif form.get("type") == "json_schema":
        body["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    return body


def not_taken(prompt: Prompt) -> str | None:
    """Why a part of the prompt cannot be said in this dialect, which would lose it in silence."""
    for kind, part in others_in(prompt):
        if kind != "image_url":
            return f"it cannot take {kind}"
        if not _url_of(part).startswith("data:") or _BASE64 not in _url_of(part)[:_LONGEST_HEAD]:
            return "it takes pictures only as data: URLs in base64"
    return None


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.text}
    pictures = [_url_of(part).partition(_BASE64)[2] for part in parts_of(message) if part.get("type") == "image_url"]
    if pictures:
        told["images"] = pictures
    calls = _objects(message.extra, "tool_calls")
    if calls:
        told["tool_calls"] = [_tool_call_to_ollama(call) for call in calls]
    if message.role == "tool" and message.extra.get("name"):
        told["tool_name"] = message.extra["name"]
    return told


def _objects(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = found.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list | tuple) else []


def _url_of(part: Mapping[str, Any]) -> str:
    picture = part.get("image_url")
    return str((picture.get("url") if isinstance(picture, dict) else picture) or "")


def _tool_call_to_ollama(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {}
    return {"function": {"name": function.get("name", ""), "arguments": arguments}}


def _tool_call_from_ollama(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "index": number,
        "id": call.get("id") or f"call_{token_hex(6)}",  # older servers give none; it is unique over all rounds
        "type": "function",
        "function": {
            "name": function.get("name", ""),
            "arguments": json.dumps(function.get("arguments") or {}, ensure_ascii=False),
        },
    }


async def answer(parts: AsyncIterator[bytes], prompt: Prompt, window: int) -> AsyncGenerator[Chunk, None]:
    """The chunks of a streamed answer; raises when it ends without its last line, says an error, or only thinks."""
    thinking, joiner = ThinkingFilter(), Joiner()
    has_text = has_thought = False
    calls = 0
    async for line in json_lines(parts, TIER):
        if "error" in line:
            raise failure(200, _words(line["error"]), prompt, window)
        message = line.get("message")
        if not isinstance(message, dict):
            raise TierBroken(TIER, "Ollama sent a line without a message", reason=Reason.BAD_PAYLOAD)
        text = thinking.feed(joiner.feed(str(message.get("content") or "")))
        has_thought = has_thought or bool(message.get("thinking")) or thinking.is_thinking
        found = tuple(
            _tool_call_from_ollama(calls + offset, call) for offset, call in enumerate(_objects(message, "tool_calls"))
        )
        calls += len(found)
        if line.get("done"):
            text += thinking.feed(joiner.finish()) + thinking.finish()
        has_text = has_text or bool(text) or bool(found)
        if not line.get("done"):
            # A thought shows as an empty chunk: a sign of life.
            yield Chunk(text=text, tool_calls=found, model=line.get("model"))
            continue
        if has_thought and not has_text:
            raise TierBroken(
                TIER,
                "the model only thought and gave no answer",
                reason=Reason.EMPTY_BODY,
                cure="Use a model that can answer without thinking.",
            )
        if text or found:
            yield Chunk(text=text, tool_calls=found)
        yield Chunk(
            finish_reason=_finish_reason(line, calls),
            usage=Usage(_count(line, "prompt_eval_count"), _count(line, "eval_count")),
            model=line.get("model"),
            note=_cut_in_silence(line, prompt, window),
        )
        return
    raise TierBroken(TIER, "Ollama ended the answer without its last line", reason=Reason.TRUNCATED)


def _finish_reason(line: Mapping[str, Any], calls: int) -> str:
    if line.get("done_reason") == "length":
        return "length"
    return "tool_calls" if calls else "stop"


def _count(line: Mapping[str, Any], name: str) -> int | None:
    """Counters that are zero are left out of the line: nothing is known then."""
    value = line.get(name)
    return value if isinstance(value, int) and value > 0 else None


def _cut_in_silence(line: Mapping[str, Any], prompt: Prompt, window: int) -> str | None:
    """Servers before `truncate` existed ignore it: then the count of what was read gives them away."""
    read = _count(line, "prompt_eval_count")
    # At least one token for eight characters; only a prompt near the window can have been cut.
    if read is None or prompt.chars < 2 * window or read >= prompt.chars / 8:
        return None
    return "Ollama read only a part of the prompt; update it, or send less"


# Errors


def refusal(status: int, body: str, prompt: Prompt, window: int) -> TierFailed:
    """What an error reply means. Words of Ollama come as JSON; others are of something that stands before it."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    told = found if isinstance(found, dict) else {}
    if status == 401:
        return _sign_in() if told.get("signin_url") else _stranger(status, Reason.UNAUTHORIZED)
    if status == 403 and "error" in told:
        return _cloud_is_off()
    if status == 403:
        return _stranger(status, Reason.FORBIDDEN) if body.strip() else _host_guard()
    return failure(status, _words(told.get("error", body)), prompt, window)


def failure(status: int, words: str, prompt: Prompt, window: int) -> TierFailed:
    """What an error of `/api/chat` means. Ollama's words decide where the status does not; none of them is shown."""
    if _CONTEXT.search(words):
        return overflow(TIER, words, prompt, window)
    if _MEMORY.search(words):
        return TierBroken(
            TIER,
            "the model does not fit into memory",
            reason=Reason.OUT_OF_MEMORY,
            cure="Close other programs, or install a smaller model.",
        )
    if status == 404 and "not found" in words:
        return TierUnavailable(TIER, "the model is not installed", reason=Reason.MODEL_MISSING)
    if _CRASH.search(words):
        return TierBroken(
            TIER,
            "Ollama's engine crashed or did not start",
            reason=Reason.OUT_OF_MEMORY,
            cure="Close other programs, or install a smaller model.",
        )
    for pattern, told in _REFUSALS:
        if status == 400 and re.search(pattern, words, re.IGNORECASE):
            return TierUnavailable(TIER, told, reason=Reason.UNSUPPORTED, cure="Choose another model.")
    return _BY_STATUS.get(status, _unknown)(status)


_REFUSALS = (
    (r"does not support tools", "the model cannot call tools"),
    (r"does not support chat", "the model cannot chat"),
    (r"does not support (?:thinking|think value)", "the model cannot be told how much to think"),
    (r"does not support (?:images|vision)|image", "the model cannot look at pictures"),
)


def _unknown(status: int) -> TierFailed:
    if status >= 500:
        return TierBroken(TIER, f"Ollama failed ({status})", reason=Reason.UPSTREAM_5XX)
    return TierBroken(TIER, f"Ollama reported an error ({status})", reason=Reason.UPSTREAM_ERROR)


def _host_guard() -> TierFailed:
    return TierUnavailable(
        TIER,
        "Ollama refuses requests under this host name (403)",
        reason=Reason.FORBIDDEN,
        cure="Use http://127.0.0.1:11434 as OLLAMA_BASE_URL.",
    )


def _cloud_is_off() -> TierFailed:
    return TierUnavailable(
        TIER,
        "the model runs in a cloud, which is switched off in Ollama",
        reason=Reason.CLOUD_MODEL,
        cure="Choose a model that is installed here.",
    )


def _sign_in() -> TierFailed:
    return TierUnavailable(
        TIER,
        "the model wants a sign-in: it runs in a cloud",
        reason=Reason.CLOUD_MODEL,
        cure="Choose a model that is installed here.",
    )


def _stranger(status: int, reason: Reason) -> TierFailed:
    return TierUnavailable(
        TIER,
        f"something that stands before Ollama refuses the request ({status})",
        reason=reason,
        cure="Set OLLAMA_BASE_URL to where Ollama itself listens; it asks for no key.",
    )


def _busy(status: int) -> TierFailed:
    return TierUnavailable(
        TIER, "Ollama's own queue is full", reason=Reason.BUSY, cure="Wait a moment and ask again.", wait=5.0
    )


def _cloud_failed(status: int) -> TierFailed:
    return TierBroken(TIER, "a cloud model behind Ollama cannot be reached", reason=Reason.UPSTREAM_5XX)


_BY_STATUS = {502: _cloud_failed, 503: _busy}


def _words(error: object) -> str:
    return error if isinstance(error, str) else json.dumps(error)
