"""The description of the API is whole, and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway_core.testing import ScriptedTier
from server import create_app

from .calling import calling, gateway

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "rest.md"


def description() -> dict:
    return create_app(gateway()).openapi()


def references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(references(value) for value in part))
    return set()


def test_every_reference_leads_somewhere():
    told = description()
    known = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}

    assert references(told) <= known


def test_the_bodies_are_described_field_by_field():
    schemas = description()["components"]["schemas"]

    assert schemas["Query"]["required"] == ["prompt"]
    assert set(schemas["DocumentsQuery"]["properties"]) - set(schemas["Query"]["properties"]) == {
        "documents",
        "max_context_chars",
    }


@pytest.mark.parametrize("path", ["/ai/query", "/ai/query/rag"])
def test_the_statuses_of_asking_are_documented(path):
    replies = description()["paths"][path]["post"]["responses"]

    assert set(replies) == {"200", "401", "403", "408", "413", "415", "422", "429", "500", "503"}
    assert set(replies["200"]["content"]) == {"application/json", "text/event-stream"}


def test_wherever_a_token_is_needed_a_wrong_one_and_a_flood_of_them_are_documented():
    told = {
        f"{method} {path}": set(operation["responses"])
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
        if path != "/health"
    }

    assert [name for name, statuses in told.items() if not statuses >= {"401", "403", "429"}] == []


async def test_replies_have_exactly_the_described_fields():
    schemas = description()["components"]["schemas"]

    def described(name: str) -> set[str]:
        return set(schemas[name]["properties"])

    async with calling(ScriptedTier("copilot")) as client:
        details = (await client.post("/ai/query", json={"prompt": "x", "details": True})).json()["details"]
        problem = (await client.post("/ai/query", json={})).json()
        status = (await client.get("/status")).json()

    assert set(details) == described("Details")
    assert set(details["attempts"][0]) == described("AttemptTold")
    assert set(problem) == described("Problem") - {"partial"}
    assert set(status) == described("StatusReply")
    assert set(status["tiers"][0]) == described("TierTold")


def test_every_endpoint_and_field_is_in_the_reference():
    page, told = DOCUMENT.read_text(encoding="utf-8"), description()
    fields = set(told["components"]["schemas"]["DocumentsQuery"]["properties"])

    assert [path for path in told["paths"] if f"`{path}`" not in page and f" {path}`" not in page] == []
    assert [field for field in fields if f"`{field}`" not in page] == []


def test_the_reference_names_no_status_that_is_not_described():
    told = {s for methods in description()["paths"].values() for m in methods.values() for s in m["responses"]}

    assert set(re.findall(r"^\| ([1-5]\d\d) ", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)) <= told
