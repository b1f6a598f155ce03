"""What the three simulators share: a port and a thread of their own, the script, the record of calls."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from . import controls, faults, stream_faults
from .answers import DEFAULT_ANSWER, Plan, Question, plan
from .calls import Answering, Call, Exchange, Handled, Progress, Refused, Routes
from .dialects import stream_of, whole_of
from .script import BYTES, CONNECTION, PLAN, REPLY, STREAM, Fault, parse
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

T = TypeVar("T")
PATIENCE = 10.0  # seconds for the simulator's own thread to do as it is told

assert STREAM, (faults, stream_faults)  # both modules enter their faults into the tables


class Simulator:
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
        self._host, self._port, self._tls, self._watch = host, port, tls, watch
        self._given = settings
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._listener: socket.socket | None = None
        self._resting: asyncio.Task[None] | None = None
        self._restore()
        self._loop = asyncio.SelectorEventLoop()  # add_reader on every system
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{self.name}-simulator", daemon=True)
        self._thread.start()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # --- settings

    def _restore(self) -> None:
        self.answer: str | Callable[[Any], str] = DEFAULT_ANSWER
        self.token_delay = 0.0
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

    def rest(self, seconds: float) -> None:
        """`stop`, and `start` again after so many seconds; returns at once."""

        async def nap() -> None:
            await asyncio.sleep(0.02)  # whoever asked for it over HTTP gets the reply
            await self._silence()
            await asyncio.sleep(seconds)
            await self._listen()

        def begin() -> None:
            self._resting = self._loop.create_task(nap())

        self._loop.call_soon_threadsafe(begin)

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
        self._thread.join(PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        if self._listener is None:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._listener = socket.create_server((self._host, self._port), family=family, backlog=512)
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _silence(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await asyncio.sleep(0.001)  # connections that were just accepted are set up
        for connection in [*self._connections]:
            connection.reset()
        await asyncio.sleep(0.001)  # the transports tell their connections

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

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection. (asyncio's own server leaks those that come in the moment it closes.)"""
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        # asyncio does so only for sockets it made itself; without it a reset overtakes what was sent just before
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted += 1
        connection = Connection(self._accepted)
        self._connections.add(connection)
        connection.task = self._loop.create_task(self._welcome(connection, sock))

    async def _welcome(self, connection: Connection, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock, ssl=self._tls)
            await self._serve(connection)
        except OSError:
            sock.close()  # the TLS handshake failed: the client's business
        finally:
            self._connections.discard(connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            while not connection.closing and (request := await connection.next_request()) is not None:
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
            if fault.name in CONNECTION and await CONNECTION[fault.name](fault, exchange.connection):
                return None
        out = self._instead(found, met) or await self._outgoing(exchange, found, met)
        for fault in met:
            if fault.name in BYTES:
                BYTES[fault.name](fault, out)
        return out

    def _instead(self, found: Handled, met: Iterable[Fault]) -> Outgoing | None:
        """What a fault of the script sends in place of the reply."""
        for fault in met:
            if fault.name in REPLY:
                kind = "application/json"
                if isinstance(found, Answering) and found.stream:
                    kind = found.dialect(found.plan).content_type
                return REPLY[fault.name](fault, self, kind)
            if (error := faults.error_of(fault, self)) is not None:
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
                    planned = PLAN[fault.name](fault, planned, found.question)
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
                steps = STREAM[fault.name](fault, steps, dialect, self)
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
        answer = self.answer(body) if callable(self.answer) else self.answer
        return replace(plan(model, answer, question, float(self.token_delay)), **changes)
