"""LangChain's ChatOpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_openai import ChatOpenAI
from loop import ADDRESS, QUESTION, TOKEN, serve
from pydantic import BaseModel

model = ChatOpenAI(model="auto", base_url=f"{ADDRESS}/v1", api_key=TOKEN)


class City(BaseModel):
    """A city."""

    name: str


def whole() -> Any:
    return model.invoke(QUESTION).content


def stream() -> Iterator[Any]:
    for chunk in model.stream(QUESTION):
        yield chunk.content


def parsed() -> Any:
    return model.with_structured_output(City).invoke(QUESTION).model_dump()


def tools() -> Any:
    return model.bind_tools([City]).invoke(QUESTION).tool_calls


serve("langchain-openai", whole, stream, parsed=parsed, tools=tools)
