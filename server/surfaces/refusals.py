"""A request that is refused before any surface has seen it, in the words of the API it was meant for."""

from __future__ import annotations

from starlette.responses import Response

from ..dialects import Dialect, Plain
from ..problems import RequestRefused, headers_of, problem
from .chat_completions import ChatCompletion
from .messages import AnthropicAnswer
from .models import Wanted
from .ollama import OllamaAnswer


def refusal(path: str, error: RequestRefused) -> Response:
    """The refusal of a request to `path`; elsewhere than on another API's surface it is a problem."""
    told, dialect = problem(error), _dialect_of(path)
    return Response(dialect.refused(told), told["status"], headers_of(error, told), dialect.refusal_type)


def _dialect_of(path: str) -> Dialect:
    unnamed = Wanted("auto")
    if path.startswith("/v1/messages"):
        return AnthropicAnswer(unnamed)
    if path.startswith("/v1/"):
        return ChatCompletion(unnamed)
    if path.startswith("/api/"):
        return OllamaAnswer(unnamed)
    return Plain()
