"""What the three simulators share: settings, the script, the record of calls, and the way of a call through it all."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from . import controls
from .answers import DEFAULT_ANSWER, Plan, Question, plan
from .calls import Answering, Call, Exchange, Handled, Progress, Refused, Routes
from .dialects import stream_of, whole_of
from .fault_types import Fault
from .faults import CONNECTION, PLAN, REPLY, error_of
from .script import parse
from .service import Service
from .stream_faults import BYTES, STREAM
from .wire import (
    BadRequest,
    ClientGone,
    Connection,
    Outgoing,
    Reply,
    Request,
    Send,
    Step,
    as_json,
    deliver,
    json_reply,
    text_reply,
)


class Simulator(Service):
    """A provider on a loopback port, running as soon as it is made.

    `script("status_500", "cut_after:40", then="ok")` decides the next paid calls; `calls` tells what came.
    Settings are plain attributes; `reset()` forgets calls and script and restores the settings.
    """

    name: ClassVar[str]
    routes: ClassVar[Routes]
    named_errors: Mapping[str, Reply] = {}
    actions: ClassVar[tuple[str, ...]] = ("drop_connections",)

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        watch: Callable[[Call], object] = lambda call: None,
        **settings: Any,
    ) -> None:
        self._watch, self._given = watch, settings
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._restore()
        super().__init__(self.name, port, host, tls)

    # --- settings

    def _restore(self) -> None:
        self.answer: str | Callable[[Any], str] = DEFAULT_ANSWER
        self.token_delay = 0.0
        self.prefill = "continue"  # an assistant turn at the end is carried on; or: ignore, refuse
        self.restore_provider()
        self.script()
        for name, value in self._given.items():
            self.configure(name, value)

    def restore_provider(self) -> None:
        """The provider's own settings and state, as they are at first."""

    @property
    def settings(self) -> dict[str, Any]:
        """What can be changed, with its value."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def configure(self, name: str, value: Any) -> None:
        """Change a setting by name; a wrong name is a `ValueError`."""
        if name not in self.settings:
            raise ValueError(f"unknown setting {name!r}; there are {', '.join(sorted(self.settings))}")
        setattr(self, name, value)

    # --- script and record

    def script(self, *entries: str, then: str = "ok", free: str = "ok") -> None:
        """What the next paid calls meet, one entry each; after them `then`. Calls that cost nothing meet `free`.

        An entry that ends in `@/path` waits for the next call of that path. The script replaces the one before.
        """
        for entry in (then, free):
            parse(entry, self.named_errors)
        queue: deque[str] = deque()
        waiting: dict[str, deque[str]] = {}
        for entry in entries:
            path = parse(entry, self.named_errors)[1]
            (waiting.setdefault(path, deque()) if path else queue).append(entry)
        with self._lock:
            self._queue, self._waiting, self._then, self._free = queue, waiting, then, free

    async def until_idle(self, timeout: float = 5.0) -> None:
        """`wait_idle` for who must not block an event loop."""
        await asyncio.to_thread(self.wait_idle, timeout)

    def _fault_for(self, exchange: Exchange, paid: bool) -> tuple[Fault, ...]:
        with self._lock:
            paths = (exchange.request.path, exchange.path)
            waiting = next((self._waiting[path] for path in paths if self._waiting.get(path)), None)
            if waiting is None and paid:
                waiting = self._queue
            entry = waiting.popleft() if waiting else self._then if paid else self._free
        exchange.note(paid=paid, fault=entry)
        return parse(entry, self.named_errors)[0]

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in order; control routes are none."""
        with self._lock:
            return [exchange.call for exchange in self._exchanges]

    @property
    def paid_calls(self) -> list[Call]:
        return [call for call in self.calls if call.paid]

    @property
    def counts(self) -> Counter[str]:
        """How many calls each path had."""
        return Counter(call.path for call in self.calls)

    @property
    def busiest(self) -> int:
        """The most paid calls that ran at the same time."""
        calls = self.paid_calls
        return max((sum(c.when <= call.when < (c.ended or float("inf")) for c in calls) for call in calls), default=0)

    def calls_to(self, path: str) -> list[Call]:
        """The calls whose path ends so: `/chat/completions` also finds `/v1/chat/completions`."""
        return [call for call in self.calls if call.path.endswith(path)]

    def reset(self) -> None:
        """Forget calls and script, restore the settings."""
        with self._lock:
            self._exchanges = []
        self._restore()

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Block until no call is running."""
        until = time.monotonic() + timeout
        while any(call.outcome == "running" for call in self.calls):
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: a call is still running")
            time.sleep(0.005)

    # --- serving

    async def serve(self, connection: Connection) -> None:
        try:
            while not (connection.closing or connection.last_request):
                if (request := await connection.next_request()) is None:
                    break
                if request.path.startswith(controls.PREFIX):
                    await deliver(connection, controls.reply_to(request, self).outgoing())
                else:
                    await self._meet(request, connection)
                connection.busy = False
        except ClientGone:
            pass
        except BadRequest as bad:
            with suppress(ClientGone):
                await deliver(connection, text_reply(str(bad), 400).outgoing())
        except Exception as bug:  # noqa: BLE001  # the top of a server: a bug in a simulator must be seen
            words = {"message": f"bug in the {self.name} simulator", "exception": bug}
            self._loop.call_exception_handler(words)
        finally:
            connection.close()

    async def _meet(self, request: Request, connection: Connection) -> None:
        """One request from its arrival to its last byte, recorded all along."""
        exchange = self._record(request, connection)
        outcome = "cut"
        try:
            out = await self._decide(exchange)
            if out is not None:
                exchange.note(status=out.status)
                kept = await deliver(connection, out, lambda step: self._sent(exchange, step), request.method == "HEAD")
                if kept and (exchange.finished or not exchange.call.paid):
                    outcome = "answered"
                outcome = "error" if out.status >= 400 else outcome
        except ClientGone:
            # Nobody has to stay after the end marker; and a connection that we broke off looks as if deserted, too.
            outcome = "answered" if exchange.finished else "cut" if connection.closing else "disconnected"
            raise
        finally:
            for act in exchange.at_end:
                act()
            exchange.note(outcome=outcome, disconnected=outcome == "disconnected", ended=time.time())
            self._watch(exchange.call)

    def _record(self, request: Request, connection: Connection) -> Exchange:
        path, base = self.split_base(request.path)
        with self._lock:
            call = Call(
                number=len(self._exchanges) + 1,
                path=request.path,
                method=request.method,
                headers=request.headers,
                body=request.json if request.body else None,
                when=time.time(),
                connection=connection.number,
                query=request.query,
            )
            exchange = Exchange(request, connection, call, path, base)
            self._exchanges.append(exchange)
        return exchange

    def _sent(self, exchange: Exchange, step: Step) -> None:
        match step:
            case Send(role="token"):
                exchange.note(tokens_sent=exchange.call.tokens_sent + 1)
            case Send(role="ending"):
                exchange.finished = True

    async def _decide(self, exchange: Exchange) -> Outgoing | None:
        """The reply to one request; `None` when the connection has been ended instead.

        The provider's own rules come first: a call that they refuse is not paid and leaves the script alone.
        """
        try:
            found = self.handle(exchange)
        except Refused as refused:
            return refused.reply.outgoing()
        met = self._fault_for(exchange, isinstance(found, Answering))
        for fault in met:
            if fault.name in CONNECTION and await CONNECTION[fault.name].act(fault, exchange.connection):
                return None
        out = self._instead(found, met) or await self._outgoing(exchange, found, met)
        for fault in met:
            if fault.name in BYTES:
                BYTES[fault.name].act(fault, out)
        return out

    def _instead(self, found: Handled, met: Iterable[Fault]) -> Outgoing | None:
        """What a fault of the script sends in place of the reply."""
        for fault in met:
            if fault.name in REPLY:
                kind = "application/json"
                if isinstance(found, Answering) and found.stream:
                    kind = found.dialect(found.plan).content_type
                return REPLY[fault.name].act(fault, self, kind)
            if (error := error_of(fault, self)) is not None:
                return error.outgoing()
        return None

    async def _outgoing(self, exchange: Exchange, found: Handled, met: Iterable[Fault]) -> Outgoing:
        steps: Iterator[Step]
        if isinstance(found, Reply):
            if exchange.before is not None:
                await exchange.before()
            return found.outgoing()
        if isinstance(found, Progress):
            steps, dialect = found.steps, found.dialect
            out = Outgoing(200, [("content-type", dialect.content_type)], steps, "chunked")
        else:
            planned = found.plan
            for fault in met:
                if fault.name in PLAN:
                    planned = PLAN[fault.name].act(fault, planned, found.question)
            if found.prepare is not None:
                await found.prepare(exchange)
            dialect = found.dialect(planned)
            if found.stream if planned.streamed is None else planned.streamed:
                steps = stream_of(planned, dialect)
                out = Outgoing(200, [("content-type", dialect.content_type), *found.headers], steps, "chunked")
            else:
                body = as_json(dialect.whole())
                steps = whole_of(planned, body)
                out = Outgoing(200, [("content-type", "application/json"), *found.headers], steps, length=len(body))
        for fault in met:
            if fault.name in STREAM:
                steps = STREAM[fault.name].act(fault, steps, dialect, self)
        out.steps = steps
        return out

    # --- for each simulator

    def split_base(self, path: str) -> tuple[str, str]:
        """The path that routes know, and the base path in front of it."""
        return path, ""

    def handle(self, exchange: Exchange) -> Handled:
        """The reply to a request that meets no fault."""
        handler = self.routes.get((exchange.request.method, exchange.path))
        return handler(self, exchange) if handler is not None else self.unknown_path(exchange)

    def unknown_path(self, exchange: Exchange) -> Reply:
        return text_reply("not found", 404)

    def error_reply(self, status: int, **words: str) -> Reply:
        """An error of that status in the provider's shape."""
        return json_reply({"error": {"message": f"simulated {status}", **words}}, status)

    def stream_error(self, **words: str) -> dict[str, Any]:
        """What an error event in mid-stream holds."""
        return {"message": "upstream failed", "code": "server_error", **words}

    def plan_for(self, model: str, question: Question, body: Any, **changes: Any) -> Plan:
        if question.turns[-1][0] == "assistant" and self.prefill != "continue":
            if self.prefill == "refuse":
                message = "This model does not support assistant message prefill."
                raise Refused(self.error_reply(400, message=message))
            question = replace(question, turns=(*question.turns, ("user", "")))
        answer = self.answer(body) if callable(self.answer) else self.answer
        return replace(plan(model, answer, question, float(self.token_delay)), **changes)
