"""What is refused before any surface is reached - a wrong token, an unknown path - said as clients of that API read it.

Official SDKs show an error's words only in their own form: of a problem they show the status alone.
"""

from __future__ import annotations

from starlette.responses import Response

from .. import problems
from ..dialects import Dialect
from .chat_completions import ChatCompletion
from .messages import AnthropicAnswer
from .models import Wanted
from .ollama import OllamaAnswer


def reply(error: BaseException, path: str) -> Response:
    """The error as a reply to a request for `path`."""
    if (dialect := _dialect(path)) is None:
        return problems.reply(error)
    told = problems.problem(error)
    headers = problems.headers_of(error, told)
    if told["status"] != 429:  # no tier was tried: a client that waits as it is told may well come again
        headers = {**headers, **dialect.headers(told)}
    return Response(dialect.refused(told), told["status"], headers, dialect.refusal_type)


def _dialect(path: str) -> Dialect | None:
    if path.startswith("/v1/messages"):
        return AnthropicAnswer(Wanted("auto"))
    if path.startswith("/v1/"):
        return ChatCompletion(Wanted("auto"))
    return OllamaAnswer(Wanted("auto")) if path.startswith("/api/") else None
