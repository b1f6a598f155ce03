"""`GET /ai/requests/{id}`: how a request was decided."""

from __future__ import annotations

from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Reason
from server.bodies import RequestReply

from .calling import calling, events


async def test_what_a_reply_names_can_be_explained():
    down = [TierBroken("copilot", "canary", reason=Reason.UPSTREAM_5XX)]
    async with calling(ScriptedTier("copilot", down), ScriptedTier("cloud", ["ok"])) as client:
        asked = {"prompt": "canary", "details": True}
        whole = (await client.post("/ai/query", json=asked)).json()["details"]["id"]
        grown = events((await client.post("/ai/query", json={**asked, "stream": True})).content)[0].data["id"]
        compatible = (
            await client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
        ).json()
        replies = [
            await client.get(f"/ai/requests/{id}") for id in (whole, grown, compatible["ai_gateway"]["id"], "last")
        ]

    told = [reply.json() for reply in replies]
    assert [t["id"] for t in told[:3]] == [whole, grown, compatible["ai_gateway"]["id"]]
    assert told[3] == told[2]
    assert [a["outcome"] for a in told[0]["attempts"]] == ["failed", "answered"]
    assert "canary" not in "".join(reply.text for reply in replies)
    for record in told:
        assert set(record) <= set(RequestReply.model_fields)
        RequestReply.model_validate(record)


async def test_a_request_that_is_not_kept_is_a_problem():
    async with calling(ScriptedTier("copilot")) as client:
        for id in ("last", "ans_unknown"):
            reply = await client.get(f"/ai/requests/{id}")
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_the_token_guards_it_too():
    async with calling(ScriptedTier("copilot"), ai_gateway_token="s3cret") as client:
        assert (await client.get("/ai/requests/last")).status_code == 401
