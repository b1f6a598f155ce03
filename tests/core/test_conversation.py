"""A conversation is asked as it stands."""

import pytest

from gateway_core import AllTiersFailed, Gateway, Message, PromptRefused, Reason, Settings
from gateway_core.testing import ScriptedTier
from gateway_core.types import AttemptOutcome

PICTURE = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
]


def gateway(tier: ScriptedTier) -> Gateway:
    return Gateway([tier], settings=Settings(ai_gateway_store="memory"))


async def test_without_a_prompt_the_messages_are_the_whole_conversation():
    tier = ScriptedTier("copilot")
    messages = (
        Message("system", "Be brief."),
        Message("user", PICTURE),  # type: ignore[arg-type]  # parts are passed on as they came
        Message("assistant", "", {"content": None, "tool_calls": [{"id": "c1"}]}),
        Message("tool", "sunny", {"tool_call_id": "c1"}),
    )

    await gateway(tier).ask(None, messages=messages)

    assert tier.prompts[0].messages == messages
    assert tier.prompts[0].question == "What is it?"


@pytest.mark.parametrize("messages", [(), (Message("system", "Be brief."),)])
async def test_a_conversation_without_a_question_is_refused(messages):
    with pytest.raises(PromptRefused, match="no question") as refused:
        await gateway(ScriptedTier("copilot")).ask(None, messages=messages)

    assert refused.value.field == "messages"


async def test_text_within_parts_is_checked_too():
    parts = [{"type": "text", "text": "a\0b"}]
    with pytest.raises(PromptRefused, match=r"messages\[0\] holds a NUL"):
        await gateway(ScriptedTier("copilot")).ask(None, messages=[Message("user", parts)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prompt", [pytest.param("x" * 5_000_000, id="too long"), pytest.param("a\0b", id="NUL"), "a\ud800b", "", "  \n"]
)
async def test_f91_what_no_tier_could_read_is_refused_by_name(prompt):
    tier = ScriptedTier("copilot")
    async with Gateway([tier]) as gateway:
        with pytest.raises(PromptRefused) as caught:
            await gateway.ask(prompt)
    assert (caught.value.field, tier.calls) == ("prompt", 0)


@pytest.mark.parametrize("seconds", [10**400, float("nan"), "soon"], ids=["too large", "none", "a word"])
@pytest.mark.parametrize("how", ["ask", "embed"])
async def test_a_deadline_that_is_no_number_of_seconds_is_refused_by_name(how, seconds):
    with pytest.raises(PromptRefused) as refused:
        await getattr(gateway(ScriptedTier("copilot")), how)("Hello", deadline_s=seconds)

    assert (refused.value.field, "REQUEST_DEADLINE" in refused.value.cure) == ("deadline_s", True)


async def test_f58_reading_documents_takes_no_more_than_the_requests_own_time():
    tier = ScriptedTier("copilot")
    with pytest.raises(AllTiersFailed) as failed:
        await gateway(tier).ask_documents("What is it?", ["A sentence of a long document. " * 100_000], deadline_s=0.01)

    (attempt,) = failed.value.attempts
    assert (tier.calls, attempt.reason, attempt.outcome) == (0, Reason.DEADLINE, AttemptOutcome.SKIPPED)
    assert "reading the documents took all the time there was" in attempt.detail
    assert "`deadline_s`" in attempt.cure
