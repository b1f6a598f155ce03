"""The openai package: responses, as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
from loop import ADDRESS, QUESTION, TOKEN, serve
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)


class City(BaseModel):
    name: str


def whole() -> str:
    return client.responses.create(model="auto", input=QUESTION).output_text


def stream() -> Iterator[str]:
    with client.responses.stream(model="auto", input=QUESTION) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta
        events.get_final_response()


def parsed() -> Any:
    found = client.responses.parse(model="auto", input=QUESTION, text_format=City).output_parsed
    return found.model_dump() if found is not None else None


serve("openai", whole, stream, parsed=parsed)
