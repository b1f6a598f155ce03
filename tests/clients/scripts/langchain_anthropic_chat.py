"""LangChain's ChatAnthropic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_anthropic import ChatAnthropic
from loop import ADDRESS, QUESTION, TOKEN, serve

model = ChatAnthropic(model="auto", base_url=ADDRESS, api_key=TOKEN, max_tokens=1000)


def whole() -> Any:
    return model.invoke(QUESTION).text


def stream() -> Iterator[Any]:
    for chunk in model.stream(QUESTION):
        yield chunk.text


serve("langchain-anthropic", whole, stream)
