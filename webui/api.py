"""The page's own routes: conversations, documents, questions, drills. Small JSON in, JSON or events out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway_core import DRILL_FAULTS, DocumentUnreadable, Drill, Gateway, load_document

from .asking import Asker, ChatBusy, ChatWentOn, Choices, Question
from .chats import Chat, ChatStore, NoSuchChat
from .drill import TIERS, DrillRoom
from .exports import EXPORTS, file_name
from .formulas import MOST_AT_ONCE, trees
from .speeds import Speeds
from .streams import EventStream
from .traces import Traces

MOST_FILE_BYTES = 25 * 1024 * 1024
MOST_BODY_BYTES = 8_000_000
MOST_FORMULAS_BYTES = 2_000_000
MOST_DOCUMENTS = 100
_READ_AT_A_TIME = 2

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that is not served: its status, and one clear line for people."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Rename(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = Field(min_length=1, max_length=1000)


class Keep(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keep: int = Field(ge=0)
    seen: int | None = Field(None, ge=0)


class Seen(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seen: int | None = Field(None, ge=0)


class Formulas(BaseModel):
    """Each the TeX between its dollars, and whether it stands alone on its line."""

    model_config = ConfigDict(extra="forbid")
    formulas: list[tuple[str, bool]] = Field(max_length=MOST_AT_ONCE)


class Begin(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tier: str
    fault: str
    page: str = Field("", max_length=40)


class PageApi:
    """Routes over one store and one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.store = ChatStore(gateway.settings.ai_gateway_state_dir)
        self.drills = DrillRoom(gateway)
        self.speeds = Speeds(gateway.telemetry)
        self.traces = Traces(gateway)
        self._asker = Asker(self.store, self.drills.gateway_for_next)
        self._reading = asyncio.Semaphore(_READ_AT_A_TIME)

    def routes(self) -> list[Route]:
        def route(path: str, method: str, handler: Handler) -> Route:
            return Route(path, _told(handler), methods=[method])

        return [
            route("/chats", "GET", self.summaries),
            route("/chats", "POST", self.new),
            route("/chats", "DELETE", self.erase_chats),
            route("/chats/{chat}", "GET", self.read),
            route("/chats/{chat}", "PATCH", self.rename),
            route("/chats/{chat}", "DELETE", self.delete),
            route("/chats/{chat}/choices", "PUT", self.choose),
            route("/chats/{chat}/ask", "POST", self.ask),
            route("/chats/{chat}/undo", "POST", self.undo),
            route("/chats/{chat}/restore", "POST", self.restore),
            route("/chats/{chat}/export/{ending}", "GET", self.export),
            route("/chats/{chat}/documents", "POST", self.add_document),
            route("/chats/{chat}/documents/{document}", "DELETE", self.remove_document),
            route("/drill", "GET", self.drill),
            route("/drill", "POST", self.begin_drill),
            route("/drill", "DELETE", self.end_drill),
            route("/speeds", "GET", self.tell_speeds),
            route("/math", "POST", self.draw_formulas),
            route("/erase", "GET", self.what_is_kept),
            route("/erase", "POST", self.erase_everything),
        ]

    # ---- conversations

    async def summaries(self, request: Request) -> Response:
        query = request.query_params.get("q", "")[:200]
        found = await run_in_threadpool(self.store.summaries, query)
        return JSONResponse([told | {"answering": self._asker.is_answering(told["id"])} for told in found])

    async def new(self, request: Request) -> Response:
        await _body(request, dict, 1000)
        return JSONResponse(self.store.new().summary, 201)

    async def read(self, request: Request) -> Response:
        chat = self._chat(request)
        told = {"turns": chat.turns, "documents": chat.documents, "choices": chat.choices}
        return JSONResponse(chat.summary | told)

    async def rename(self, request: Request) -> Response:
        asked = await _body(request, Rename, 10_000)
        return JSONResponse(self.store.rename(self._chat(request).id, asked.title).summary)

    async def delete(self, request: Request) -> Response:
        chat = self._chat(request)
        self.store.delete(chat.id)
        await self._asker.stop(chat.id)
        return Response(status_code=204)

    async def erase_chats(self, request: Request) -> Response:
        await run_in_threadpool(self.store.erase)
        await self._asker.stop()  # last: a page that sees its answer end looks at what there is
        return Response(status_code=204)

    async def choose(self, request: Request) -> Response:
        chosen = (await _body(request, Choices, 500_000)).model_dump()

        def choose(chat: Chat) -> None:
            chat.choices = chosen

        return JSONResponse(self.store.change(self._chat(request).id, choose).summary)

    async def export(self, request: Request) -> Response:
        chat = self._chat(request)
        if request.path_params["ending"] not in EXPORTS:
            raise Refused(404, f"a conversation can be kept as {', '.join(EXPORTS)}")
        ending = request.path_params["ending"]
        write, media_type = EXPORTS[ending]
        headers = {"content-disposition": f'attachment; filename="{file_name(chat, ending)}"'}
        content = write(chat).encode("utf-8", "replace")
        return Response(content, headers=headers, media_type=media_type)

    # ---- questions

    async def ask(self, request: Request) -> Response:
        question = await _body(request, Question, MOST_BODY_BYTES)
        if not question.prompt.strip():
            raise Refused(422, "write a question first")
        return EventStream(partial(self._asker.ask, self._chat(request), question))

    async def undo(self, request: Request) -> Response:
        asked = await _body(request, Keep, 1000)

        def undo(chat: Chat) -> None:
            if asked.seen not in (None, len(chat.turns)):
                raise ChatWentOn(chat.id)
            chat.turns, chat.dropped = chat.turns[: asked.keep], []

        return JSONResponse(self.store.change(self._chat(request).id, undo).summary)

    async def restore(self, request: Request) -> Response:
        """Bring back what asking an early question again has dropped."""
        asked = await _body(request, Seen, 1000)
        chat = self._chat(request)
        await self._asker.stop(chat.id)  # the answer that has begun instead is kept as far as it came

        def restore(chat: Chat) -> None:
            if asked.seen not in (None, len(chat.turns)):
                raise ChatWentOn(chat.id)
            if not chat.dropped:
                raise Refused(409, "there is nothing to bring back any more")
            chat.swap()

        return JSONResponse(self.store.change(chat.id, restore).summary)

    # ---- documents

    async def add_document(self, request: Request) -> Response:
        # Not a type that a foreign page may send without being asked for leave first.
        if request.headers.get("content-type") != "application/octet-stream":
            raise Refused(415, "send the bytes of one file as application/octet-stream")
        name = _plain_name(request.query_params.get("name", ""))
        if len(self._chat(request).documents) >= MOST_DOCUMENTS:
            raise Refused(413, f"a conversation can hold {MOST_DOCUMENTS} documents")
        data = await _bytes(
            request, MOST_FILE_BYTES, f"{name}: is larger than the {MOST_FILE_BYTES // 2**20} MB allowed"
        )
        try:
            async with self._reading:
                document = await run_in_threadpool(load_document, (name, data))
        except DocumentUnreadable as exc:
            raise Refused(422, f"{exc}. {exc.cure}".strip()) from None
        return JSONResponse(self.store.add_document(request.path_params["chat"], document), 201)

    async def remove_document(self, request: Request) -> Response:
        self.store.remove_document(request.path_params["chat"], request.path_params["document"])
        return Response(status_code=204)

    # ---- drill and plot

    async def drill(self, request: Request) -> Response:
        return self._drill_of(_page(request))

    def _drill_of(self, page: str) -> Response:
        drill = self.drills.waiting(page)
        return JSONResponse({"waiting": drill.words if drill else None})

    async def begin_drill(self, request: Request) -> Response:
        asked = await _body(request, Begin, 1000)
        if asked.tier not in TIERS or asked.fault not in DRILL_FAULTS:
            raise Refused(422, f"tier: {', '.join(TIERS)}; fault: {', '.join(DRILL_FAULTS)}")
        self.drills.begin(Drill(asked.tier, asked.fault), asked.page)
        return self._drill_of(asked.page)

    async def end_drill(self, request: Request) -> Response:
        self.drills.end(_page(request))
        return Response(status_code=204)

    async def tell_speeds(self, request: Request) -> Response:
        return JSONResponse(self.speeds.last_hour())

    # ---- formulas

    async def draw_formulas(self, request: Request) -> Response:
        asked = await _body(request, Formulas, MOST_FORMULAS_BYTES)
        return JSONResponse(await run_in_threadpool(trees, asked.formulas))

    # ---- erasing

    async def what_is_kept(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.traces.told))

    async def erase_everything(self, request: Request) -> Response:
        await _body(request, dict, 1000)
        self.drills.end_all()
        await run_in_threadpool(self.store.erase)
        await self._asker.stop()  # last: a page that sees its answer end looks at what there is
        return JSONResponse(await self.traces.erase())

    def _chat(self, request: Request) -> Chat:
        return self.store.get(request.path_params["chat"])


def _told(handler: Handler) -> Handler:
    """Refusals as JSON with one line to show."""

    @wraps(handler)
    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as exc:
            return JSONResponse({"detail": exc.detail}, exc.status)
        except NoSuchChat:
            return JSONResponse({"detail": "it is not there any more"}, 404)
        except ChatBusy:
            return JSONResponse({"detail": "this conversation is being answered, perhaps in another tab"}, 409)
        except ChatWentOn:
            return JSONResponse({"detail": "this conversation went on elsewhere; look at it, then ask again"}, 409)
        except OSError as exc:  # nothing but the folder of the conversations is read or written here
            return JSONResponse({"detail": f"the conversations cannot be written: {exc.strerror or 'unknown'}"}, 507)
        except ClientDisconnect:
            return Response(status_code=499)

    return told


async def _body(request: Request, model: Any, limit: int) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "the body must be JSON")
    data = await _bytes(request, limit, "this is too long")
    if model is dict:
        return {}
    try:
        return model.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Refused(422, f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


async def _bytes(request: Request, limit: int, too_large: str) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise Refused(413, too_large)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise Refused(413, too_large)
    return bytes(data)


def _page(request: Request) -> str:
    return request.query_params.get("page", "")[:40]


def _plain_name(name: str) -> str:
    """A file's name without the way to it; it is only ever shown, never opened."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c for c in last if c.isprintable())[-200:].strip()
    return plain or "file"
