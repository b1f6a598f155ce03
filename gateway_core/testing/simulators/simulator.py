"""What the three simulators share: a port and a thread of their own, the script, the record of calls, the controls."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar, Self

from . import faults
from .answers import DEFAULT_ANSWER, Plan, Question, plan
from .dialects import Dialect, stream_of, whole_of
from .faults import Fault
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

CONTROL = "/_sim/"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a simulator.

    `paid`: it asked for an answer, and the provider's own rules let it. `fault`: the script entry it met.
    `outcome`: running, answered (with the end marker), error (a status of 400 or more), cut (the simulator gave less
    than an answer), disconnected (the client hung up before the end). `connection` counts accepted connections from 1.
    """

    number: int
    path: str
    method: str
    headers: Mapping[str, str]
    body: Any
    when: float
    connection: int
    query: Mapping[str, str] = field(default_factory=dict)
    paid: bool = False
    fault: str = "ok"
    outcome: str = "running"
    status: int | None = None
    tokens_sent: int = 0
    disconnected: bool = False
    ended: float | None = None


class Refused(Exception):
    """The provider's own rules refuse the request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(slots=True)
class Answering:
    """A request that passed the provider's checks: what is answered, in which dialect, after which preparation.

    `prepare` runs before the first byte: a cold load, a queue.
    """

    question: Question
    plan: Plan
    dialect: Callable[[Plan], Dialect]
    stream: bool
    headers: tuple[tuple[str, str], ...] = ()
    prepare: Callable[[Exchange], Awaitable[None]] | None = None


@dataclass(slots=True)
class Exchange:
    """One request under way; `call` is its record so far, `path` has lost the base path.

    What is in `at_end` is called when the request is over, however it ended.
    """

    request: Request
    connection: Connection
    call: Call
    path: str
    base: str = ""
    at_end: list[Callable[[], None]] = field(default_factory=list)
    before: Callable[[], Awaitable[object]] | None = None  # runs before a reply that is no answer
    finished: bool = False  # the end marker has left

    def note(self, **changes: Any) -> None:
        self.call = replace(self.call, **changes)

    @property
    def bearer(self) -> str:
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() in ("bearer", "token") else ""


Handled = Reply | Outgoing | Answering
Handler = Callable[[Any, Exchange], Handled]
Routes = Mapping[tuple[str, str], Handler]


class Simulator:
    """A provider on a loopback port, running as soon as it is made.

    `script("status_500", "cut_after:40", then="ok")` decides the next paid calls; `calls` tells what came.
    Settings are plain attributes; `reset()` forgets calls and script and restores the settings.
    """

    name: ClassVar[str]
    routes: ClassVar[Routes]
    named_errors: Mapping[str, Reply] = {}
    actions: ClassVar[tuple[str, ...]] = ("drop_connections",)

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, **settings: Any):
        self._host, self._port, self._tls = host, port, tls
        self._lock = threading.Lock()
        self._settings = settings
        self._exchanges: list[Exchange] = []
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._server: asyncio.Server | None = None
        self._resting: asyncio.Task[None] | None = None
        self.restore()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{self.name}-simulator", daemon=True)
        self._thread.start()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # --- settings, to be extended by each simulator

    def restore(self) -> None:
        """Everything as it was when the simulator was made, but the connections."""
        self.answer: str | Callable[[Any], str] = DEFAULT_ANSWER
        self.token_delay = 0.0
        self.restore_provider()
        self.script()
        for name, value in self._settings.items():
            self.configure(name, value)

    def restore_provider(self) -> None: ...

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that can be changed, with their values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def configure(self, name: str, value: Any) -> None:
        if name not in self.settings:
            raise ValueError(f"unknown setting {name!r}; there are {', '.join(sorted(self.settings))}")
        setattr(self, name, value)

    # --- life

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        """Listen (again), on the same port as before."""
        self._run(self._listen())

    def stop(self) -> None:
        """Refuse connections and reset the open ones, until `start`."""
        self._run(self._silence())

    def drop_connections(self) -> None:
        """Close the connections that have no request under way, as a server does after a while."""

        def hang_up() -> None:
            for connection in [*self._connections]:
                if not connection.busy:
                    connection.close()

        self._loop.call_soon_threadsafe(hang_up)

    def close(self) -> None:
        """The end. Safe to call twice."""
        if self._loop.is_closed():
            return
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(10)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self._host, self._port, ssl=self._tls, backlog=512)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _silence(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in [*self._connections]:
            connection.reset()
        await asyncio.sleep(0.005)

    async def _end(self) -> None:
        tasks = [task for task in (self._resting, *(c.task for c in self._connections)) if task is not None]
        await self._silence()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    # --- script and record

    def script(self, *entries: str, then: str = "ok", free: str = "ok") -> None:
        """What the next paid calls meet, one entry each; after them `then`. Calls that cost nothing meet `free`.

        An entry that ends in `@/path` waits for the next call of that path.
        """
        read = [(entry, *faults.parse(entry, self.named_errors)) for entry in entries]
        for entry in (then, free):
            faults.parse(entry, self.named_errors)
        with self._lock:
            self._queue: deque[str] = deque(entry for entry, _, path in read if not path)
            self._waiting: dict[str, deque[str]] = {}
            for entry, _, path in read:
                if path:
                    self._waiting.setdefault(path, deque()).append(entry)
            self._then, self._free = then, free

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in order; control routes are none."""
        with self._lock:
            return [exchange.call for exchange in self._exchanges]

    @property
    def paid_calls(self) -> list[Call]:
        return [call for call in self.calls if call.paid]

    def calls_to(self, path: str) -> list[Call]:
        """The calls whose path ends so: `/chat/completions` also finds `/v1/chat/completions`."""
        return [call for call in self.calls if call.path.endswith(path)]

    def reset(self) -> None:
        """Forget calls and script, restore the settings."""
        with self._lock:
            self._exchanges = []
        self.restore()

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Block until no call is running."""
        until = time.monotonic() + timeout
        while any(call.outcome == "running" for call in self.calls):
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: a call is still running")
            time.sleep(0.005)

    def _fault_for(self, paid: bool, *paths: str) -> tuple[tuple[Fault, ...], str]:
        with self._lock:
            waiting = next((self._waiting[path] for path in paths if self._waiting.get(path)), None)
            if waiting:
                entry = waiting.popleft()
            elif paid:
                entry = self._queue.popleft() if self._queue else self._then
            else:
                entry = self._free
        return faults.parse(entry, self.named_errors)[0], entry

    # --- serving

    def _accept(self) -> Connection:
        self._accepted += 1
        connection = Connection(self._accepted, self._serve)
        self._connections.add(connection)
        return connection

    async def _serve(self, connection: Connection) -> None:
        try:
            while not connection.closing and (request := await connection.next_request()) is not None:
                if request.path.startswith(CONTROL):
                    await deliver(connection, self._control(request).outgoing())
                else:
                    await self._meet(request, connection)
                connection.busy = False
        except ClientGone:
            pass
        except BadRequest as bad:
            with suppress(ClientGone):
                await deliver(connection, text_reply(str(bad), 400).outgoing())
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _meet(self, request: Request, connection: Connection) -> None:
        """One request from its arrival to its last byte, recorded all along."""
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
        paid = isinstance(found, Answering)
        met, entry = self._fault_for(paid, exchange.request.path, exchange.path)
        exchange.note(paid=paid, fault=entry)
        for fault in met:
            if fault.name in faults.CONNECTION and await faults.CONNECTION[fault.name](fault, exchange.connection):
                return None
        for fault in met:
            if fault.name in faults.REPLY:
                return self._shape(faults.REPLY[fault.name](fault, self), met)
            if (error := faults.error_of(fault, self)) is not None:
                return self._shape(error.outgoing(), met)
        if isinstance(found, Answering):
            return self._shape(await self._answer(exchange, found, met), met)
        if exchange.before is not None:
            await exchange.before()
        return self._shape(found.outgoing() if isinstance(found, Reply) else found, met)

    async def _answer(self, exchange: Exchange, found: Answering, met: Iterable[Fault]) -> Outgoing:
        planned = found.plan
        for fault in met:
            if fault.name in faults.PLAN:
                planned = faults.PLAN[fault.name](fault, planned, found.question)
        if found.prepare is not None:
            await found.prepare(exchange)
        dialect = found.dialect(planned)
        stream = found.stream if planned.streamed is None else planned.streamed
        steps: Iterator[Step]
        if stream:
            steps, kind, length = stream_of(planned, dialect), dialect.content_type, 0
        else:
            body = as_json(dialect.whole())
            steps, kind, length = whole_of(planned, body), "application/json", len(body)
        for fault in met:
            if fault.name in faults.STREAM:
                steps = faults.STREAM[fault.name](fault, steps, dialect, self)
        headers = [("content-type", kind), *found.headers]
        return Outgoing(200, headers, steps, "chunked" if stream else "length", length)

    def _shape(self, out: Outgoing, met: Iterable[Fault]) -> Outgoing:
        for fault in met:
            if fault.name in faults.BYTES:
                faults.BYTES[fault.name](fault, out)
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
        return json_reply({"error": {"message": f"simulated {status}", **words}}, status)

    def stream_error(self, **words: str) -> dict[str, Any]:
        return {"message": "upstream failed", "code": "server_error", **words}

    def plan_for(self, model: str, question: Question, body: Any, **changes: Any) -> Plan:
        answer = self.answer(body) if callable(self.answer) else self.answer
        return replace(plan(model, answer, question, float(self.token_delay)), **changes)

    # --- controls over HTTP

    def _control(self, request: Request) -> Reply:
        verb, name = request.method, request.path.removeprefix(CONTROL)
        wanted = request.json if request.body else {}
        act = self._controls.get((verb, name))
        if act is None:
            known = ", ".join(f"{method} {CONTROL}{path}" for method, path in self._controls)
            return json_reply({"error": f"no such control; there are {known}"}, 404)
        if not isinstance(wanted, dict):
            return json_reply({"error": "the body has to be a JSON object"}, 400)
        try:
            return json_reply(act(wanted if verb == "POST" else dict(request.query)))
        except (ValueError, TypeError, KeyError) as wrong:
            return json_reply({"error": str(wrong)}, 400)

    @property
    def _controls(self) -> dict[tuple[str, str], Callable[[dict[str, Any]], Any]]:
        return {
            ("POST", "script"): self._scripted,
            ("GET", "calls"): self._told,
            ("POST", "reset"): self._was_reset,
            ("GET", "config"): lambda wanted: self._shown(),
            ("POST", "config"): self._configured,
            ("GET", "faults"): lambda wanted: {**faults.LINES, **dict.fromkeys(self.named_errors, "")},
            ("POST", "down"): self._go_down,
            ("POST", "do"): self._done,
        }

    def _scripted(self, wanted: dict[str, Any]) -> Any:
        entries = wanted.get("faults", [])
        self.script(*entries, then=wanted.get("then", "ok"), free=wanted.get("free", "ok"))
        return {"status": "ok", "faults": entries, "then": self._then, "free": self._free}

    def _told(self, wanted: dict[str, Any]) -> Any:
        calls = self.calls_to(wanted["path"]) if "path" in wanted else self.calls
        return [asdict(call) for call in calls if call.paid or wanted.get("paid") in (None, "0")]

    def _was_reset(self, wanted: dict[str, Any]) -> Any:
        self.reset()
        return {"status": "ok"}

    def _configured(self, wanted: dict[str, Any]) -> Any:
        for name, value in wanted.items():
            self.configure(name, value)
        return self._shown()

    def _shown(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, (set, frozenset)):
                return sorted(value)
            if isinstance(value, Mapping):
                return {key: plain(item) for key, item in value.items()}
            if hasattr(value, "__dataclass_fields__"):
                return asdict(value)
            return value if isinstance(value, (str, int, float, bool, list, tuple, type(None))) else str(value)

        return {name: plain(value) for name, value in self.settings.items()}

    def _go_down(self, wanted: dict[str, Any]) -> Any:
        """Refuse connections for `seconds`, soon after this reply has left."""
        seconds = float(wanted.get("seconds", 1))

        async def down() -> None:
            await asyncio.sleep(0.02)
            await self._silence()
            await asyncio.sleep(seconds)
            await self._listen()

        self._resting = self._loop.create_task(down())
        return {"status": "ok", "seconds": seconds}

    def _done(self, wanted: dict[str, Any]) -> Any:
        name = wanted.pop("action", "")
        if name not in self.actions:
            raise ValueError(f"unknown action {name!r}; there are {', '.join(self.actions)}")
        result = getattr(self, name)(**wanted)
        return {"status": "ok", "result": result}
