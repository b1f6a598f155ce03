"""LlamaIndex's OpenAILike."""

from __future__ import annotations

from collections.abc import Iterator

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from loop import ADDRESS, QUESTION, TOKEN, serve

model = OpenAILike(model="auto", api_base=f"{ADDRESS}/v1", api_key=TOKEN, is_chat_model=True, context_window=128_000)


def whole() -> str | None:
    return model.chat([ChatMessage(role="user", content=QUESTION)]).message.content


def stream() -> Iterator[str | None]:
    for part in model.stream_chat([ChatMessage(role="user", content=QUESTION)]):
        yield part.delta


serve("llama-index-llms-openai-like", whole, stream)
