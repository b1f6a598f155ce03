"""OpenAI and those who speak its language: chat completions, responses, models, embeddings."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .answers import Plan, Question, text_of
from .calls import Answering, Exchange, Handled, Refused, Routes
from .dialects import ChatCompletions, ChatTraits, Dialect, Responses
from .fixtures import OPENAI, openai_error
from .simulator import Simulator
from .turns import WrongTurn, check_chat, check_items
from .wire import Reply, json_reply


def turns_of(messages: Any) -> tuple[tuple[str, str], ...]:
    """Roles and texts of a list of messages; a `TypeError` when it is not one."""
    if not isinstance(messages, list) or not messages:
        raise TypeError("messages")
    return tuple((str(message["role"]), text_of(message.get("content"))) for message in messages)


def chat_question(body: Mapping[str, Any]) -> Question:
    check_chat(body.get("messages"))
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None
    return Question(
        turns_of(body.get("messages")),
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        schema={} if form.get("type") == "json_object" else schema,
        tools=tuple(body.get("tools") or ()),
    )


def responses_question(body: Mapping[str, Any]) -> Question:
    given = body.get("input")
    check_items(given)
    turns = (("user", given),) if isinstance(given, str) and given else turns_of(_said(given))
    rules = (("system", str(body["instructions"])),) if body.get("instructions") else ()
    form = (body.get("text") or {}).get("format") or {}
    return Question(
        (*rules, *turns),
        limit=body.get("max_output_tokens"),
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        tools=tuple(body.get("tools") or ()),
    )


def _said(items: Any) -> Any:
    """Calls and their results are items without a role there."""
    spoken = {"function_call": ("assistant", "arguments"), "function_call_output": ("tool", "output")}
    if not isinstance(items, list):
        return items
    said = []
    for item in items:
        role, text = spoken.get(item.get("type", ""), ("", ""))
        said.append({"role": role, "content": item[text]} if role else item)
    return said


PLAIN = ChatTraits()


@dataclass(frozen=True, slots=True)
class Flavour:
    """What sets one provider apart from another on the same wire."""

    base: str
    bad_key: Reply
    key_header: str = ""  # besides the usual Authorization
    key_start: str = "sk-"
    key_needed: bool = True
    traits: ChatTraits = PLAIN
    wrap: Callable[[int, dict[str, Any]], Any] = lambda status, error: {"error": error}
    strict: bool = False  # refuses what its newest models do not take
    models: tuple[tuple[str, str | None], ...] = ()


def _numeric(status: int, error: dict[str, Any]) -> Any:
    return {"error": {"code": status, "message": error["message"], "metadata": {}}}


def _listed(status: int, error: dict[str, Any]) -> Any:
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
    names |= {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
    return [{"error": {"code": status, "message": error["message"], "status": names.get(status, "INTERNAL")}}]


def _vendor(status: int, error: dict[str, Any]) -> Any:
    kinds = {401: "authentication_error", 402: "billing_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": error["message"], "type": kind, "param": None, "code": None}}


_PROCESSING = (b": OPENROUTER PROCESSING\n\n", b": OPENROUTER PROCESSING\n\n")
_OPENAI_MODELS: tuple[tuple[str, str | None], ...] = (
    ("gpt-6-luna", None),
    ("gpt-6-sol", None),
    ("gpt-4o-mini", "2027-01-14"),
    ("gpt-4o", "2027-01-14"),
    ("text-embedding-3-small", None),
)

FLAVOURS: Mapping[str, Flavour] = {
    "openai": Flavour("/v1", OPENAI["invalid_api_key"], strict=True, models=_OPENAI_MODELS),
    "azure": Flavour(
        "/openai/v1",
        openai_error(401, "", "401", "Access denied due to invalid subscription key or wrong API endpoint."),
        key_header="api-key",
        key_start="",
        traits=ChatTraits(prologue=(b'data: {"choices":[],"created":0,"id":"","prompt_filter_results":[]}\n\n',)),
        strict=True,
        models=(("my-deployment", None), ("gpt-6-luna", None)),
    ),
    "anthropic": Flavour(
        "/v1",
        openai_error(401, "authentication_error", None, "invalid x-api-key"),
        key_start="sk-ant-",
        wrap=_vendor,
        models=(("claude-haiku-5-5", None), ("claude-sonnet-5-5", None)),
    ),
    "gemini": Flavour(
        "/v1beta/openai",
        OPENAI["list_error_400"],
        key_start="AI",
        wrap=_listed,
        models=(("gemini-3.5-flash-lite", None), ("gemini-flash-lite-latest", None)),
    ),
    "openrouter": Flavour(
        "/api/v1",
        json_reply({"error": {"code": 401, "message": "No auth credentials found"}}, 401),
        key_start="sk-or-",
        traits=ChatTraits(prologue=_PROCESSING, reasoning="reasoning", error_in_choice=True),
        wrap=_numeric,
        models=(("openai/gpt-6-luna", None), ("openrouter/free", None)),
    ),
    "custom": Flavour("/v1", OPENAI["invalid_api_key"], key_start="", key_needed=False),
}


class OpenAISimulator(Simulator):
    """`flavour` makes it Azure, Anthropic's compatibility layer, Gemini's, OpenRouter or a custom server.

    `api_keys`: the only keys taken (empty: any with the provider's usual beginning). `models`: id → shutdown date;
    with none at all, every model is taken. `max_prompt_tokens` bounds the context.
    """

    name = "openai"
    named_errors = OPENAI

    def restore_provider(self) -> None:
        self.flavour = "openai"
        self.api_keys: list[str] = []
        self.models: dict[str, str | None] = dict(_OPENAI_MODELS)
        self.max_prompt_tokens = 128_000
        self.embedding_size = 8

    def configure(self, name: str, value: Any) -> None:
        if name == "flavour" and value not in FLAVOURS:
            raise ValueError(f"unknown flavour {value!r}; there are {', '.join(FLAVOURS)}")
        super().configure(name, value)
        if name == "flavour":
            self.models = dict(FLAVOURS[value].models)

    @property
    def base_url(self) -> str:
        """What a client takes as base URL."""
        return self.url + self._flavour.base

    @property
    def _flavour(self) -> Flavour:
        return FLAVOURS[self.flavour]

    # --- rules

    def split_base(self, path: str) -> tuple[str, str]:
        base = self._flavour.base
        return (path.removeprefix(base), base) if path.startswith(base + "/") else (path, "")

    def handle(self, exchange: Exchange) -> Handled:
        if not exchange.base:
            return self.unknown_path(exchange)
        self._check_key(exchange)
        return super().handle(exchange)

    def _check_key(self, exchange: Exchange) -> None:
        flavour = self._flavour
        given = exchange.request.headers.get(flavour.key_header, "") if flavour.key_header else ""
        given = given or exchange.bearer  # who has a header of its own takes the usual one, too
        known = given in self.api_keys if self.api_keys else given.startswith(flavour.key_start)
        if not known or (flavour.key_needed and not given):
            raise Refused(flavour.bad_key)

    def _refuse(self, status: int, kind: str, code: str | None, message: str, param: str | None = None) -> Refused:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return Refused(json_reply(self._flavour.wrap(status, error), status, x_request_id=_request_id()))

    def error_reply(self, status: int, **words: str) -> Reply:
        kinds = {401: "invalid_request_error", 429: "requests", 403: "request_forbidden"}
        codes = {401: "invalid_api_key", 429: "rate_limit_exceeded", 404: "model_not_found"}
        kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
        error = {"message": f"simulated {status}", "type": kind, "param": None, "code": codes.get(status), **words}
        return json_reply(self._flavour.wrap(status, error), status, x_request_id=_request_id())

    def stream_error(self, **words: str) -> dict[str, Any]:
        if self.flavour == "openrouter":
            return {"code": 502, "message": "Provider disconnected", **words}
        message = "The server had an error while processing your request."
        return {"message": message, "type": "server_error", "param": None, "code": None, **words}

    def unknown_path(self, exchange: Exchange) -> Reply:
        return openai_error(404, "invalid_request_error", None, f"Invalid URL ({exchange.request.path})")

    def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        body = exchange.request.json
        if not isinstance(body, dict):
            raise self._refuse(400, "invalid_request_error", None, "We could not parse the JSON body of your request.")
        model = body.get("model")
        if not model:
            raise self._refuse(400, "invalid_request_error", None, "you must provide a model parameter", "model")
        if self.models and model not in self.models:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise self._refuse(404, "invalid_request_error", "model_not_found", message)
        return body

    def _check_parameters(self, body: Mapping[str, Any], refused: Mapping[str, str]) -> None:
        """The newest models take only the newest names."""
        for name, instead in refused.items():
            if body.get(name) is not None:
                message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
                raise self._refuse(400, "invalid_request_error", "unsupported_parameter", message, name)

    def _check_size(self, question: Question) -> None:
        if question.size > self.max_prompt_tokens:
            message = (
                f"This model's maximum context length is {self.max_prompt_tokens} tokens. "
                f"However, your messages resulted in {question.size} tokens."
            )
            raise self._refuse(400, "invalid_request_error", "context_length_exceeded", message, "messages")

    # --- routes

    def _answering(
        self, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Question], dialect: Callable[[Plan], Dialect]
    ) -> Answering:
        try:
            question = read(body)
        except WrongTurn as wrong:
            raise self._refuse(400, "invalid_request_error", "invalid_value", wrong.message, wrong.param) from None
        except (TypeError, KeyError, AttributeError):
            message = "Invalid type for 'messages': expected an array of objects."
            raise self._refuse(400, "invalid_request_error", "invalid_type", message, "messages") from None
        self._check_size(question)
        plan = self.plan_for(body["model"], question, body)
        return Answering(question, plan, dialect, bool(body.get("stream")), _limits(question.size))

    def chat(self, exchange: Exchange) -> Answering:
        body = self._body(exchange)
        if self._flavour.strict and str(body["model"]).startswith("gpt-6"):
            refused = {"max_tokens": " Use 'max_completion_tokens' instead.", "temperature": "", "top_p": ""}
            self._check_parameters(body, refused)
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        given = self._flavour.traits
        traits = replace(given, usage=given.usage if wants_usage else "none", usage_everywhere=wants_usage)
        return self._answering(body, chat_question, lambda plan: ChatCompletions(plan, traits))

    def responses(self, exchange: Exchange) -> Answering:
        body = self._body(exchange)
        self._check_parameters(body, {"max_tokens": " Use 'max_output_tokens' instead.", "messages": " Use 'input'."})
        return self._answering(body, responses_question, Responses)

    def list_models(self, exchange: Exchange) -> Reply:
        rows = [
            {"id": model, "object": "model", "created": 1790000000, "owned_by": self.flavour}
            | ({"shutdown_date": until} if until else {})
            for model, until in self.models.items()
        ]
        return json_reply({"object": "list", "data": rows})

    def embeddings(self, exchange: Exchange) -> Reply:
        body = self._body(exchange)
        given = body.get("input")
        texts = [given] if isinstance(given, str) else list(given or [])
        rows = [
            {"object": "embedding", "index": n, "embedding": embedding_of(str(text), self.embedding_size)}
            for n, text in enumerate(texts)
        ]
        used = sum(len(str(text)) // 4 + 1 for text in texts)
        usage = {"prompt_tokens": used, "total_tokens": used}
        return json_reply({"object": "list", "data": rows, "model": body["model"], "usage": usage})

    routes: ClassVar[Routes] = {
        ("POST", "/chat/completions"): chat,
        ("POST", "/responses"): responses,
        ("GET", "/models"): list_models,
        ("POST", "/embeddings"): embeddings,
    }


def embedding_of(text: str, size: int) -> list[float]:
    """A vector of unit length that depends on the letters only."""
    counts = [1e-6] * size
    for letter in text.lower():
        counts[ord(letter) % size] += 1
    norm = sum(value * value for value in counts) ** 0.5
    return [round(value / norm, 6) for value in counts]


def _request_id() -> str:
    return f"req_{uuid.uuid4().hex}"


def _limits(used: int) -> tuple[tuple[str, str], ...]:
    return (
        ("x-request-id", _request_id()),
        ("openai-processing-ms", "12"),
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-limit-tokens", "200000"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-remaining-tokens", str(max(0, 200_000 - used))),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    )
