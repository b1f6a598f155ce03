"""Ollama: its own API with a model store, one slot and cold loads, and a part of its OpenAI surface."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from .answers import Plan, Question
from .calls import Answering, Exchange, Handled, Progress, Refused, Routes
from .dialects import THOUGHTS, ChatCompletions, ChatTraits, Dialect, OllamaLines
from .fixtures import OLLAMA, OVERFLOW, ollama_error
from .ollama_store import (
    INSTALLED,
    MODIFIED,
    Engine,
    LocalModel,
    fitted,
    models_from,
    pulling,
    rfc3339,
    seconds_of,
    tagged,
)
from .openai import chat_question, embedding_of, turns_of
from .simulator import Simulator
from .turns import WrongTurn
from .wire import Reply, json_reply, text_reply

LOCAL_NAMES = re.compile(r"localhost|[\w.-]+\.(?:localhost|local|internal)")
MODEL_NAME = re.compile(r"[\w./:-]+")
OPENAI_TRAITS = ChatTraits(reasoning="reasoning")


class OllamaSimulator(Simulator):
    """One laptop with Ollama.

    `models` are installed, `pullable` can be pulled. `load_delay` is what a cold load takes, `default_num_ctx` what a
    request without `num_ctx` gets, `max_queue` how many may wait for the one slot, `memory` (bytes) what a model may
    take. Models that can think do so for `thinking_time`, unless told not to. `cloud` is how a model that is not
    local fares: ok, unauthorized, unreachable. `old_server` does not know `truncate`, `think` and `capabilities`.
    """

    name = "ollama"
    named_errors = OLLAMA

    def restore_provider(self) -> None:
        self.version = "0.33.0"
        self.models: dict[str, LocalModel] = {model.name: model for model in INSTALLED}
        self.pullable: list[str] = ["qwen3.5:0.8b", "gemma4:e2b"]
        self.load_delay = 0.0
        self.pull_delay = 0.0
        self.thinking_time = 0.05
        self.default_num_ctx = 4096
        self.max_queue = 512
        self.memory: int | None = None
        self.cloud = "ok"
        self.old_server = False
        self.counters = True
        self.check_host = True
        self._engine = Engine()
        self._pulled: dict[str, int] = {}

    def configure(self, name: str, value: Any) -> None:
        if name == "models":
            self.models = models_from(value)
        else:
            super().configure(name, value)

    # --- rules

    def handle(self, exchange: Exchange) -> Handled:
        if self.check_host and not _is_local(exchange.request.headers.get("host", "")):
            raise Refused(OLLAMA["host_refused"])
        try:
            return super().handle(exchange)
        except (TypeError, KeyError, AttributeError, WrongTurn):
            message = "json: cannot unmarshal string into Go struct field ChatRequest of type []api.Message"
            raise Refused(ollama_error(400, message)) from None

    def unknown_path(self, exchange: Exchange) -> Reply:
        other_verb = any(path == exchange.path for _, path in self.routes)
        return text_reply("405 method not allowed", 405) if other_verb else text_reply("404 page not found", 404)

    def error_reply(self, status: int, **words: str) -> Reply:
        return ollama_error(status, words.get("message", f"simulated {status}"))

    def stream_error(self, **words: str) -> dict[str, Any]:
        return {"message": "an error was encountered while running the model: unexpected EOF", **words}

    def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        if not exchange.request.body:
            raise Refused(ollama_error(400, "missing request body"))
        try:
            body = json.loads(exchange.request.body)
        except ValueError:
            raise Refused(ollama_error(400, "invalid character 'x' looking for beginning of value")) from None
        if not isinstance(body, dict):
            raise Refused(ollama_error(400, "json: cannot unmarshal array into Go value of type api.ChatRequest"))
        return body

    def _model_of(self, body: Mapping[str, Any]) -> LocalModel:
        name = str(body.get("model") or body.get("name") or "")
        if not name:
            raise Refused(ollama_error(400, "model is required"))
        if not MODEL_NAME.fullmatch(name):
            raise Refused(ollama_error(400, "invalid model name"))
        model = self.models.get(tagged(name))
        if model is None:
            raise Refused(ollama_error(404, f"model '{name}' not found"))
        if model.remote and self.cloud != "ok":
            raise Refused(OLLAMA[f"cloud_{self.cloud}"])
        return model

    def _thinks(self, model: LocalModel, wish: Any) -> bool:
        """Thinking is on by default where the model can; asked for where it cannot, it is an error."""
        can = "thinking" in model.capabilities
        if wish and not can and not self.old_server:
            raise Refused(ollama_error(400, f'"{model.name}" does not support thinking'))
        return can and (wish is not False or self.old_server)

    def _check(self, model: LocalModel, question: Question, verb: str) -> None:
        wanted = {"completion": verb, **({"tools": "tools"} if question.tools else {})}
        for capability, word in wanted.items():
            if capability not in model.capabilities:
                raise Refused(ollama_error(400, f'"{model.name}" does not support {word}'))
        self._check_memory(model)

    def _check_memory(self, model: LocalModel) -> None:
        if self.memory is not None and model.size > self.memory and not model.remote:
            raise Refused(OLLAMA["out_of_memory"])

    def _fitted(self, model: LocalModel, question: Question, num_ctx: int, truncate: Any) -> Question:
        """The question as the model sees it in this context: silently less, unless `truncate` is false."""
        if question.size <= num_ctx:
            return question
        if model.native_template:
            raise Refused(OLLAMA["context_overflow_native"])
        if truncate is False and not self.old_server:
            raise Refused(ollama_error(400, OVERFLOW))
        return replace(question, turns=fitted(question.turns, num_ctx))

    # --- answers

    def _answer(
        self,
        body: Mapping[str, Any],
        question: Question,
        write: Callable[[Plan, int], Dialect],
        verb: str = "chat",
    ) -> Answering:
        model, engine = self._model_of(body), self._engine
        options = body.get("options") or {}
        self._check(model, question, verb)
        thinks = self._thinks(model, body.get("think"))
        num_ctx = engine.context_for(model, options.get("num_ctx"), self.default_num_ctx)
        kept = self._fitted(model, question, num_ctx, body.get("truncate"))
        limit = options.get("num_predict")
        kept = replace(kept, limit=limit if isinstance(limit, int) and limit >= 0 else None)
        if engine.is_busy and len(engine.queue) >= self.max_queue:
            raise Refused(OLLAMA["server_busy"])
        loading = 0.0

        async def prepare(exchange: Exchange) -> None:
            nonlocal loading
            await engine.turn(exchange)
            loading = await engine.load(exchange, model, num_ctx, body.get("keep_alive"), self.load_delay)

        plan = self.plan_for(str(body.get("model")), kept, body)
        if thinks and self.old_server:
            plan = replace(plan, text=f"<think>\n{''.join(THOUGHTS)}\n</think>\n\n{plan.text}")
        elif thinks:
            plan = replace(plan, thinking=self.thinking_time, thoughts=len(THOUGHTS))
        stream = body.get("stream") is not False
        return Answering(kept, plan, lambda plan: write(plan, int(loading * 1e9) + 1_334_875), stream, prepare=prepare)

    def _load_only(self, exchange: Exchange, body: Mapping[str, Any], generate: bool) -> Reply:
        model, engine = self._model_of(body), self._engine
        now = OllamaLines(Plan(str(body.get("model")), "", ""), generate)
        if seconds_of(body.get("keep_alive")) == 0:
            engine.loaded.pop(model.name, None)
            return json_reply(now.line("", True, done_reason="unload"))
        self._check_memory(model)
        num_ctx = engine.context_for(model, (body.get("options") or {}).get("num_ctx"), self.default_num_ctx)
        exchange.before = lambda: engine.load(exchange, model, num_ctx, body.get("keep_alive"), self.load_delay)
        return json_reply(now.line("", True, done_reason="load"))

    def chat(self, exchange: Exchange) -> Handled:
        body = self._body(exchange)
        if not body.get("messages"):
            return self._load_only(exchange, body, generate=False)
        question = Question(turns_of(body["messages"]), schema=_schema(body), tools=tuple(body.get("tools") or ()))
        return self._answer(body, question, lambda plan, load: OllamaLines(plan, False, load, counters=self.counters))

    def generate(self, exchange: Exchange) -> Handled:
        body = self._body(exchange)
        if not body.get("prompt"):
            return self._load_only(exchange, body, generate=True)
        rules = (("system", str(body["system"])),) if body.get("system") else ()
        question = Question((*rules, ("user", str(body["prompt"]))), schema=_schema(body))
        return self._answer(
            body, question, lambda plan, load: OllamaLines(plan, True, load, counters=self.counters), "generate"
        )

    def openai_chat(self, exchange: Exchange) -> Handled:
        body = self._body(exchange)
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        traits = replace(OPENAI_TRAITS, usage="separate" if wants_usage else "none")
        question = chat_question(body)
        own = {
            "model": body.get("model"),
            "stream": bool(body.get("stream")),
            "options": {"num_predict": question.limit},  # num_ctx cannot be said on this surface
            "think": {"none": False}.get(str(body.get("reasoning_effort"))),
        }
        return self._answer(own, question, lambda plan, load: OllamaChat(plan, traits))

    # --- the store

    def root(self, exchange: Exchange) -> Reply:
        return text_reply("Ollama is running")

    def tell_version(self, exchange: Exchange) -> Reply:
        return json_reply({"version": self.version})

    def tags(self, exchange: Exchange) -> Reply:
        rows = [model.row for model in self.models.values()]
        return json_reply({"models": [_without_capabilities(row) for row in rows] if self.old_server else rows})

    def running(self, exchange: Exchange) -> Reply:
        now = time.monotonic()
        rows = [
            {
                **_without_capabilities(self.models[name].row),
                "expires_at": rfc3339(time.time() + loaded.until - now),
                "size_vram": 0,
                "context_length": loaded.num_ctx,
            }
            for name, loaded in sorted(self._engine.loaded.items(), key=lambda item: -item[1].until)
            if loaded.until > now and name in self.models
        ]
        return json_reply({"models": rows})

    def show(self, exchange: Exchange) -> Reply:
        model = self._model_of(self._body(exchange))
        return json_reply(
            {
                "modelfile": f"FROM {model.name}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": model.details,
                "model_info": {
                    "general.architecture": model.family,
                    f"{model.family}.context_length": model.context_length,
                },
                **({} if self.old_server else {"capabilities": list(model.capabilities)}),
                "modified_at": rfc3339(MODIFIED),
            }
        )

    def embed(self, exchange: Exchange) -> Reply:
        body = self._body(exchange)
        model = self._model_of(body)
        given = body.get("input") or []
        texts = [given] if isinstance(given, str) else list(given)
        vectors = [embedding_of(str(text), 8) for text in texts]
        used = sum(len(str(text)) // 4 + 1 for text in texts)
        counts = {"total_duration": 14_143_917, "load_duration": 1_019_500, "prompt_eval_count": used}
        return json_reply({"model": model.name, "embeddings": vectors, **counts})

    def openai_models(self, exchange: Exchange) -> Reply:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "library"} for name in self.models]
        return json_reply({"object": "list", "data": rows})

    def pull(self, exchange: Exchange) -> Handled:
        body = self._body(exchange)
        name = tagged(str(body.get("model") or body.get("name") or ""))
        if not MODEL_NAME.fullmatch(name):
            raise Refused(ollama_error(400, "invalid model name"))
        if name not in self.models and name not in map(tagged, self.pullable):
            raise Refused(ollama_error(500, "pull model manifest: file does not exist"))
        model = self.models.get(name) or LocalModel(name, ("completion", "tools", "thinking"), 32768, 1_000_000_000)
        steps = pulling(model, self._pulled, self.models, self.pull_delay)
        if body.get("stream") is False:
            for _ in steps:  # at once: nobody sees the progress
                pass
            return json_reply({"status": "success"})
        return Progress(steps, OllamaLines(Plan(name, "", "")))

    routes: ClassVar[Routes] = {
        ("GET", "/"): root,
        ("HEAD", "/"): root,
        ("GET", "/api/version"): tell_version,
        ("GET", "/api/tags"): tags,
        ("GET", "/api/ps"): running,
        ("POST", "/api/show"): show,
        ("POST", "/api/chat"): chat,
        ("POST", "/api/generate"): generate,
        ("POST", "/api/embed"): embed,
        ("POST", "/api/pull"): pull,
        ("GET", "/v1/models"): openai_models,
        ("POST", "/v1/chat/completions"): openai_chat,
    }


class OllamaChat(ChatCompletions):
    """Ollama's OpenAI surface loses an error in mid-stream: an empty chunk, then nothing."""

    def error(self, error: Mapping[str, Any]) -> list[bytes]:
        return [self.delta({"content": ""})]


def _is_local(host: str) -> bool:
    """Whether a Host header names this laptop or its network: the guard against rebinding."""
    name = host.lower().rpartition(":")[0] if re.search(r":\d+$", host) else host.lower()
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return bool(LOCAL_NAMES.fullmatch(name))
    return address.is_loopback or address.is_private


def _without_capabilities(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "capabilities"}


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = body.get("format")
    return form if isinstance(form, dict) else {} if form == "json" else None
