"""Ollama: its own API with a model store, one slot and cold loads, and its OpenAI surface."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .answers import Plan, Question
from .dialects import ChatCompletions, ChatTraits, Dialect, OllamaLines
from .fixtures import OLLAMA, OVERFLOW, ollama_error
from .openai import chat_question, embedding_of, turns_of
from .simulator import Answering, Exchange, Handled, Refused, Routes, Simulator
from .wire import Outgoing, Pause, Reply, Send, Step, as_json, json_reply, text_reply

LOCAL_HOSTS = re.compile(r"(?:localhost|[\w.-]+\.(?:localhost|local|internal)|[\d.]+|\[[0-9a-f:]+\])(?::\d+)?")
DURATION = re.compile(r"([\d.]+)(ms|s|m|h)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """An installed model. `remote` models leave the machine although they wear a local name."""

    name: str
    capabilities: tuple[str, ...] = ("completion",)
    context_length: int = 8192
    size: int = 2_700_000_000
    family: str = "llama"
    parameters: str = "8B"
    native_template: bool = False  # answers an overflow with an error instead of truncating
    remote: bool = False

    @property
    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameters,
            "quantization_level": "Q4_K_M",
        }

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()


INSTALLED = (
    LocalModel("llama3:latest", ("completion",), 8192, 4_661_224_676, "llama", "8B"),
    LocalModel("qwen3.5:2b", ("completion", "tools", "thinking"), 32768, 2_700_000_000, "qwen3", "2B"),
    LocalModel("all-minilm:latest", ("embedding",), 512, 45_960_996, "bert", "23M"),
    LocalModel("qwen3.5:cloud", ("completion", "tools", "thinking"), 262144, 384, "qwen3", "397B", remote=True),
)
PULL_LAYERS = (("dde5aa3fc5ff", 2_000_000), ("966de95ca8a6", 1_400), ("fcc5a6bec9da", 7_700))
OPENAI_TRAITS = ChatTraits(usage="separate", reasoning="reasoning")


@dataclass(slots=True)
class Loaded:
    """A model in memory, with what it was loaded for."""

    num_ctx: int
    until: float


class OllamaSimulator(Simulator):
    """One laptop with Ollama.

    `models` are installed, `pullable` can be pulled. `load_delay` is what a cold load takes, `default_num_ctx` what
    a request without `num_ctx` gets, `max_queue` how many may wait for the one slot. `old_server` ignores the
    fields that old servers do not know (`truncate`, `think`). `memory` in bytes bounds the model that fits.
    """

    name = "ollama"
    named_errors = OLLAMA

    def restore_provider(self) -> None:
        self.version = "0.33.0"
        self.models: dict[str, LocalModel] = {model.name: model for model in INSTALLED}
        self.pullable: list[str] = ["qwen3.5:0.8b", "gemma4:e2b"]
        self.load_delay = 0.0
        self.default_num_ctx = 4096
        self.max_queue = 512
        self.parallel = 1
        self.old_server = False
        self.memory: int | None = None
        self.counters = True
        self.check_host = True
        self.pull_delay = 0.0
        self.thinking_time = 0.05
        self._loaded: dict[str, Loaded] = {}
        self._pulled: dict[str, int] = {}
        self._busy = 0
        self._waiting_turns: list[asyncio.Future[None]] = []

    def configure(self, name: str, value: Any) -> None:
        if name == "models" and not isinstance(value, dict):
            known = {model.name: model for model in INSTALLED}
            self.models = {row: known.get(row, LocalModel(row)) for row in map(_tagged, value)}
        elif name == "models":
            self.models = {_tagged(row): _model(_tagged(row), fields) for row, fields in value.items()}
        else:
            super().configure(name, value)

    # --- rules

    def handle(self, exchange: Exchange) -> Handled:
        request = exchange.request
        if self.check_host and not LOCAL_HOSTS.fullmatch(request.headers.get("host", "")):
            raise Refused(OLLAMA["host_refused"])
        return super().handle(exchange)

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
        except ValueError as wrong:
            raise Refused(ollama_error(400, f"invalid character: {wrong}")) from None
        if not isinstance(body, dict):
            raise Refused(ollama_error(400, "json: cannot unmarshal array into Go value"))
        return body

    def _model_of(self, body: Mapping[str, Any]) -> LocalModel:
        name = body.get("model") or body.get("name")
        if not name:
            raise Refused(ollama_error(400, "model is required"))
        if not re.fullmatch(r"[\w./:-]+", str(name)):
            raise Refused(ollama_error(400, "invalid model name"))
        model = self.models.get(_tagged(str(name)))
        if model is None:
            raise Refused(ollama_error(404, f"model '{name}' not found"))
        return model

    def _must(self, model: LocalModel, capability: str, word: str) -> None:
        if capability not in model.capabilities:
            raise Refused(ollama_error(400, f'"{model.name}" does not support {word}'))

    def _check_memory(self, model: LocalModel) -> None:
        if self.memory is not None and model.size > self.memory and not model.remote:
            raise Refused(OLLAMA["out_of_memory"])

    # --- loading and the one slot

    def _ctx_of(self, model: LocalModel, options: Mapping[str, Any]) -> int:
        """The context a request gets: its own wish, else what is loaded, else the default."""
        loaded = self._loaded.get(model.name)
        wish = options.get("num_ctx") or (loaded.num_ctx if loaded else self.default_num_ctx)
        return min(int(wish), model.context_length)

    async def _load(self, exchange: Exchange, model: LocalModel, num_ctx: int, keep_alive: Any) -> float:
        """Load the model unless it is there with this very context; the seconds it took."""
        loaded = self._loaded.get(model.name)
        began = time.monotonic()
        if loaded is None or loaded.num_ctx != num_ctx or loaded.until < began:
            self._loaded.pop(model.name, None)
            if self.load_delay:
                await exchange.connection.pause(self.load_delay)
        took = time.monotonic() - began
        self._loaded[model.name] = Loaded(num_ctx, time.monotonic() + seconds_of(keep_alive))
        return took

    async def _turn(self, exchange: Exchange) -> None:
        """Wait for the slot, in order of arrival; it is free again when the request is over."""
        if self._busy >= self.parallel:
            turn = asyncio.get_running_loop().create_future()
            self._waiting_turns.append(turn)
            left = asyncio.ensure_future(exchange.connection.gone.wait())
            await asyncio.wait({turn, left}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            if not turn.done():
                self._waiting_turns.remove(turn)
                await exchange.connection.hang()
        else:
            self._busy += 1
        exchange.at_end.append(self._turn_over)

    def _turn_over(self) -> None:
        for turn in self._waiting_turns:
            if not turn.done():
                self._waiting_turns.remove(turn)
                turn.set_result(None)
                return
        self._busy -= 1

    # --- answers

    def _fitted(
        self, model: LocalModel, turns: tuple[tuple[str, str], ...], num_ctx: int, truncate: Any
    ) -> tuple[tuple[str, str], ...]:
        """What is left of the conversation in this context: silently less, unless `truncate` is false."""
        size = Question(turns).size
        if size <= num_ctx:
            return turns
        if model.native_template:
            raise Refused(OLLAMA["context_overflow_native"])
        if truncate is False and not self.old_server:
            raise Refused(ollama_error(400, OVERFLOW))
        kept = list(turns)
        while len(kept) > 1 and Question(tuple(kept)).size > num_ctx:
            oldest = next((n for n, (role, _) in enumerate(kept[:-1]) if role != "system"), None)
            if oldest is None:
                kept = kept[-1:]
            else:
                del kept[oldest]
        role, text = kept[-1]
        if Question(tuple(kept)).size > num_ctx:
            kept[-1] = (role, text[:16] + text[-(num_ctx // 2) * 4 + 16 :])
        return tuple(kept)

    def _answer_to(self, exchange: Exchange, body: Mapping[str, Any], question: Question, generate: bool) -> Answering:
        model = self._model_of(body)
        options = body.get("options") or {}
        self._must(model, "completion", "generate" if generate else "chat")
        if question.tools:
            self._must(model, "tools", "tools")
        thinks = self._thinking(model, body.get("think"))
        self._check_memory(model)
        num_ctx = self._ctx_of(model, options)
        limit = options.get("num_predict")
        kept = replace(
            question,
            turns=self._fitted(model, question.turns, num_ctx, body.get("truncate")),
            limit=limit if isinstance(limit, int) and limit >= 0 else None,
        )
        if self._busy >= self.parallel and len(self._waiting_turns) >= self.max_queue:
            raise Refused(OLLAMA["server_busy"])
        loading = 0.0

        async def prepare(exchange: Exchange) -> None:
            nonlocal loading
            await self._turn(exchange)
            loading = await self._load(exchange, model, num_ctx, body.get("keep_alive"))

        def dialect(plan: Plan) -> Dialect:
            load_ns = int(loading * 1e9) + 1_334_875
            return OllamaLines(plan, generate, load_ns, counters=self.counters)

        plan = self.plan_for(str(body.get("model")), kept, body, thinking=self.thinking_time if thinks else 0.0)
        return Answering(kept, plan, dialect, body.get("stream") is not False, prepare=prepare)

    def _thinking(self, model: LocalModel, wish: Any) -> bool:
        """Thinking is on by default where the model can; asked for where it cannot, it is an error."""
        can = "thinking" in model.capabilities
        if self.old_server:
            return can
        if wish and not can:
            raise Refused(ollama_error(400, f'"{model.name}" does not support thinking'))
        return can and wish is not False

    def _load_only(self, exchange: Exchange, body: Mapping[str, Any], generate: bool) -> Reply:
        model = self._model_of(body)
        now = OllamaLines(Plan(str(body["model"]), "", ""), generate)
        if seconds_of(body.get("keep_alive")) == 0:
            self._loaded.pop(model.name, None)
            return json_reply(now.line("", True, done_reason="unload"))
        self._check_memory(model)
        num_ctx = self._ctx_of(model, body.get("options") or {})
        exchange.before = lambda: self._load(exchange, model, num_ctx, body.get("keep_alive"))
        return json_reply(now.line("", True, done_reason="load"))

    def chat(self, exchange: Exchange) -> Reply | Answering:
        body = self._body(exchange)
        if not body.get("messages"):
            return self._load_only(exchange, body, generate=False)
        question = Question(turns_of(body["messages"]), schema=_schema(body), tools=tuple(body.get("tools") or ()))
        return self._answer_to(exchange, body, question, generate=False)

    def generate(self, exchange: Exchange) -> Reply | Answering:
        body = self._body(exchange)
        if not body.get("prompt"):
            return self._load_only(exchange, body, generate=True)
        rules = (("system", str(body["system"])),) if body.get("system") else ()
        question = Question((*rules, ("user", str(body["prompt"]))), schema=_schema(body))
        return self._answer_to(exchange, body, question, generate=True)

    def openai_chat(self, exchange: Exchange) -> Answering:
        body = self._body(exchange)
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        question = chat_question(body)
        effort = {"think": False} if body.get("reasoning_effort") == "none" else {}
        options = {"num_predict": question.limit} if question.limit else {}
        found = self._answer_to(exchange, {**body, **effort, "options": options}, question, generate=False)
        traits = replace(OPENAI_TRAITS, usage="separate" if wants_usage else "none")
        return replace(found, dialect=lambda plan: OllamaChat(plan, traits), stream=bool(body.get("stream")))

    # --- the store

    def root(self, exchange: Exchange) -> Reply:
        return text_reply("Ollama is running")

    def tell_version(self, exchange: Exchange) -> Reply:
        return json_reply({"version": self.version})

    def tags(self, exchange: Exchange) -> Reply:
        return json_reply({"models": [_row(model) for model in self.models.values()]})

    def running(self, exchange: Exchange) -> Reply:
        now = time.monotonic()
        rows = [
            {
                **_row(self.models[name]),
                "expires_at": _date(time.time() + min(loaded.until - now, 3e8)),
                "size_vram": 0,
                "context_length": loaded.num_ctx,
            }
            for name, loaded in sorted(self._loaded.items(), key=lambda item: -item[1].until)
            if loaded.until > now and name in self.models
        ]
        return json_reply({"models": rows})

    def show(self, exchange: Exchange) -> Reply:
        model = self._model_of(self._body(exchange))
        info = {"general.architecture": model.family, f"{model.family}.context_length": model.context_length}
        return json_reply(
            {
                "modelfile": f"FROM {model.name}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": model.details,
                "model_info": info,
                "capabilities": list(model.capabilities),
                "modified_at": _date(1_790_000_000),
            }
        )

    def embed(self, exchange: Exchange) -> Reply:
        body = self._body(exchange)
        model = self._model_of(body)
        given = body.get("input", "")
        texts = [given] if isinstance(given, str) else list(given)
        texts = [] if texts == [""] else texts
        vectors = [embedding_of(str(text), 8) for text in texts]
        used = sum(len(str(text)) // 4 + 1 for text in texts)
        counts = {"total_duration": 14_143_917, "load_duration": 1_019_500, "prompt_eval_count": used}
        return json_reply({"model": model.name, "embeddings": vectors, **counts})

    def openai_models(self, exchange: Exchange) -> Reply:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "library"} for name in self.models]
        return json_reply({"object": "list", "data": rows})

    def pull(self, exchange: Exchange) -> Reply | Outgoing:
        body = self._body(exchange)
        name = _tagged(str(body.get("model") or body.get("name") or ""))
        if not re.fullmatch(r"[\w./:-]+", name):
            raise Refused(ollama_error(400, "invalid model name"))
        if name not in self.models and name not in map(_tagged, self.pullable):
            lines = [{"error": "pull model manifest: file does not exist"}]
            return json_reply(lines[0], 500)
        steps = self._pulling(name)
        if body.get("stream") is False:
            return json_reply({"status": "success"} if [*steps] else {})
        return Outgoing(200, [("content-type", "application/x-ndjson")], steps, "chunked")

    def _pulling(self, name: str) -> Any:
        """Progress lines; what was pulled before a break-off is not pulled again."""

        def line(**fields: Any) -> Step:
            return Send(as_json(fields) + b"\n", "body")

        yield line(status="pulling manifest")
        for digest, total in PULL_LAYERS:
            known = {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total}
            done = self._pulled.get(digest + name, 0)
            yield line(**known, **({"completed": done} if done else {}))
            while done < total:
                if self.pull_delay:
                    yield Pause(self.pull_delay)
                done = self._pulled[digest + name] = min(total, done + total // 10 + 1)
                yield line(**known, completed=done)
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            if status == "success":
                self.models[name] = LocalModel(name, ("completion", "tools", "thinking"), 32768)
            yield line(status=status)

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


def seconds_of(keep_alive: Any) -> float:
    """`keep_alive` as Ollama reads it: seconds, a Go duration, negative for ever; five minutes if unset."""
    if keep_alive is None:
        return 300.0
    text = str(keep_alive)
    try:
        seconds = float(text)
    except ValueError:
        sign = -1.0 if text.startswith("-") else 1.0
        seconds = sign * sum(float(n) * UNITS[unit] for n, unit in DURATION.findall(text))
    return 1e9 if seconds < 0 else seconds


def _tagged(name: str) -> str:
    return name if ":" in name or not name else f"{name}:latest"


def _model(name: str, fields: Any) -> LocalModel:
    if isinstance(fields, LocalModel):
        return fields
    fields = {**fields, "capabilities": tuple(fields.get("capabilities", ("completion",)))}
    return LocalModel(name, **fields)


def _row(model: LocalModel) -> dict[str, Any]:
    remote = {"remote_model": model.name.split(":")[0], "remote_host": "https://ollama.com:443"} if model.remote else {}
    return {
        "name": model.name,
        "model": model.name,
        **remote,
        "modified_at": _date(1_790_000_000),
        "size": model.size,
        "digest": model.digest,
        "details": model.details,
        "capabilities": list(model.capabilities),
    }


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(at))


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = body.get("format")
    return form if isinstance(form, dict) else {} if form == "json" else None
