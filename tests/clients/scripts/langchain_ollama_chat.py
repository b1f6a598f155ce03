"""LangChain's ChatOllama."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_ollama import ChatOllama
from loop import ADDRESS, QUESTION, TOKEN, serve


def model() -> ChatOllama:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return ChatOllama(
        model="auto", base_url=ADDRESS, client_kwargs={"headers": headers}, validate_model_on_init=True
    )  # looks the name up in the list first


def whole() -> Any:
    return model().invoke(QUESTION).content


def stream() -> Iterator[Any]:
    for chunk in model().stream(QUESTION):
        yield chunk.content


serve("langchain-ollama", whole, stream)
