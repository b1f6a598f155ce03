"""What lies on the simulated laptop's disk and in its memory: models, downloads, the loaded model's one slot."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .answers import Question
from .calls import Exchange
from .wire import Pause, Send, Step, as_json

LAYERS = (("dde5aa3fc5ff", 2_000_000), ("966de95ca8a6", 1_400), ("fcc5a6bec9da", 7_700))
MODIFIED = 1_790_000_000
_DURATION = re.compile(r"([\d.]+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """An installed model. `remote` ones leave the laptop although they wear a local name.

    `native_template`: its template is llama.cpp's own, so that an overflow is an error and never a truncation.
    """

    name: str
    capabilities: tuple[str, ...] = ("completion",)
    context_length: int = 8192
    size: int = 2_700_000_000
    family: str = "llama"
    parameters: str = "8B"
    native_template: bool = False
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
    def row(self) -> dict[str, Any]:
        """The model as /api/tags lists it."""
        away = {"remote_model": self.name.partition(":")[0], "remote_host": "https://ollama.com:443"}
        return {
            "name": self.name,
            "model": self.name,
            **(away if self.remote else {}),
            "modified_at": rfc3339(MODIFIED),
            "size": self.size,
            "digest": hashlib.sha256(self.name.encode()).hexdigest(),
            "details": self.details,
            "capabilities": list(self.capabilities),
        }


INSTALLED = (
    LocalModel("llama3:latest", ("completion",), 8192, 4_661_224_676, "llama", "8B"),
    LocalModel("qwen3.5:2b", ("completion", "tools", "thinking"), 32768, 2_700_000_000, "qwen3", "2B"),
    LocalModel("all-minilm:latest", ("embedding",), 512, 45_960_996, "bert", "23M"),
    LocalModel("qwen3.5:cloud", ("completion", "tools", "thinking"), 262144, 384, "qwen3", "397B", remote=True),
)


def models_from(wanted: Any) -> dict[str, LocalModel]:
    """Models from a list of names, or from a mapping of names to fields."""
    known = {model.name: model for model in INSTALLED}
    if not isinstance(wanted, Mapping):
        return {name: known.get(name, LocalModel(name)) for name in map(tagged, wanted)}
    return {tagged(name): _model(tagged(name), fields) for name, fields in wanted.items()}


def _model(name: str, fields: Any) -> LocalModel:
    if isinstance(fields, LocalModel):
        return fields
    return LocalModel(name, **{**fields, "capabilities": tuple(fields.get("capabilities", ("completion",)))})


def tagged(name: str) -> str:
    """The full name: `llama3` is `llama3:latest`."""
    return name if ":" in name or not name else f"{name}:latest"


def rfc3339(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(at))


def seconds_of(keep_alive: Any) -> float:
    """`keep_alive` as Ollama reads it: seconds, a Go duration, negative for ever; five minutes if unset."""
    if keep_alive is None:
        return 300.0
    text = str(keep_alive)
    try:
        seconds = float(text)
    except ValueError:
        sign = -1.0 if text.startswith("-") else 1.0
        seconds = sign * sum(float(n) * _UNITS[unit] for n, unit in _DURATION.findall(text))
    return 1e9 if seconds < 0 else seconds


def pulling(model: LocalModel, done: dict[str, int], models: dict[str, LocalModel], pace: float) -> Iterator[Step]:
    """The lines of a download. `done` remembers each layer, so that one broken off goes on where it was."""

    def line(**fields: Any) -> Step:
        return Send(as_json(fields) + b"\n", "ending" if fields["status"] == "success" else "token")

    yield line(status="pulling manifest")
    for digest, total in LAYERS:
        layer = f"{model.name} {digest}"
        known = {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total}
        before = done.get(layer, 0)
        yield line(**known, **({"completed": before} if before else {}))
        while done.get(layer, 0) < total:
            if pace:
                yield Pause(pace)
            done[layer] = min(total, done.get(layer, 0) + total // 10 + 1)
            yield line(**known, completed=done[layer])
    yield line(status="verifying sha256 digest")
    yield line(status="writing manifest")
    models[model.name] = model
    yield line(status="success")


def fitted(turns: Turns, num_ctx: int) -> Turns:
    """What Ollama keeps of a conversation that is too long: not the oldest turns, at last half of the newest."""
    kept = list(turns)
    while len(kept) > 1 and Question(tuple(kept)).size > num_ctx:
        oldest = next((n for n, (role, _) in enumerate(kept[:-1]) if role != "system"), 0)
        del kept[oldest]
    if Question(tuple(kept)).size > num_ctx:
        role, text = kept[-1]
        kept[-1] = (role, text[:16] + text[len(text) - num_ctx * 2 + 16 :])  # four letters a token, half the tokens
    return tuple(kept)


@dataclass(slots=True)
class Loaded:
    """A model in memory, and the context it was loaded for."""

    num_ctx: int
    until: float


@dataclass
class Engine:
    """Loads models and answers one question at a time, in order of arrival."""

    parallel: int = 1
    loaded: dict[str, Loaded] = field(default_factory=dict)
    busy: int = 0
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def is_busy(self) -> bool:
        return self.busy >= self.parallel

    def context_for(self, model: LocalModel, wish: Any, default: int) -> int:
        """The context a request gets: its own wish, else what is loaded, else the default."""
        loaded = self.loaded.get(model.name)
        return min(int(wish or (loaded.num_ctx if loaded else default)), model.context_length)

    async def load(self, exchange: Exchange, model: LocalModel, num_ctx: int, keep_alive: Any, delay: float) -> float:
        """Load the model, unless it is there with this very context; the seconds it took."""
        began = time.monotonic()
        there = self.loaded.get(model.name)
        if there is None or there.num_ctx != num_ctx or there.until < began:
            self.loaded.pop(model.name, None)
            if delay:
                await exchange.connection.pause(delay)
        took = time.monotonic() - began
        self.loaded[model.name] = Loaded(num_ctx, time.monotonic() + seconds_of(keep_alive))
        return took

    async def turn(self, exchange: Exchange) -> None:
        """Wait for the slot; it is free again when the request is over. Who hangs up meanwhile leaves the queue."""
        if self.is_busy:
            turn = asyncio.get_running_loop().create_future()
            self.queue.append(turn)
            gone = asyncio.ensure_future(exchange.connection.gone.wait())
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not turn.done():
                self.queue.remove(turn)
                await exchange.connection.hang()
        else:
            self.busy += 1
        exchange.at_end.append(self._next)

    def _next(self) -> None:
        if self.queue:
            self.queue.popleft().set_result(None)
        else:
            self.busy -= 1
