"""The gateway for code that does not await: same answers and errors, and nothing goes on after its reader left."""

import threading

import pytest

from gateway_core import AllTiersFailed, BlockingGateway, Delta, Done, Gateway, Settings, SettingsInvalid
from gateway_core.errors import PromptRefused, TierUnreachable
from gateway_core.testing import ScriptedTier

SETTINGS = Settings(_env_file=None)


def blocking(*tiers: ScriptedTier) -> BlockingGateway:
    return BlockingGateway(lambda: Gateway(tiers, settings=SETTINGS))


def test_events_come_in_order_and_end_in_done():
    with blocking(ScriptedTier("copilot", ["Par", "is"])) as gateway:
        *_, par, paris, done = gateway.stream("capital of France?")

    assert (par.text, paris.text, done.answer.text) == ("Par", "is", "Paris")


def test_an_answer_in_one_piece_and_a_state_are_the_same_calls_without_await():
    with blocking(ScriptedTier("copilot", ["Paris"])) as gateway:
        assert gateway.ask("capital of France?").text == "Paris"
        assert gateway.health().copilot_available
        gateway.reset()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
def test_errors_reach_the_caller_as_they_are(whole):
    with blocking(ScriptedTier("copilot", [TierUnreachable("copilot", "no route")])) as gateway:  # noqa: SIM117
        with pytest.raises(AllTiersFailed):
            list(gateway.stream("hello", whole=whole))


def test_a_reader_who_leaves_in_mid_stream_closes_the_call_before_going_on():
    tier = ScriptedTier("copilot", ["Par", 3600.0, "is"])
    with blocking(tier) as gateway:
        events = gateway.stream("capital of France?")
        assert any(isinstance(event, Delta) for event in (next(events), next(events)))
        events.close()

        assert tier.cancelled == 1


def test_the_gateway_can_be_asked_again_after_a_reader_left():
    tier = ScriptedTier("copilot", ["Par", 3600.0], ["Rome"])
    with blocking(tier) as gateway:
        events = gateway.stream("capital of France?")
        next(events)
        events.close()

        assert [e.answer.text for e in gateway.stream("capital of Italy?") if isinstance(e, Done)] == ["Rome"]


def test_closing_ends_the_background_thread():
    gateway = blocking(ScriptedTier("copilot"))
    gateway.health()
    gateway.close()

    assert "ai-gateway" not in {thread.name for thread in threading.enumerate()}


def test_a_gateway_that_cannot_be_built_says_so_each_time_and_leaves_no_thread_behind():
    def build() -> Gateway:
        raise SettingsInvalid("LOCAL_BASE_URL: wrong")

    with BlockingGateway(build) as gateway:
        for _ in range(2):
            with pytest.raises(SettingsInvalid):
                gateway.health()

    assert "ai-gateway" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("field", "value"), [("tier", "moon"), ("on_interrupt", "perhaps")])
def test_a_word_that_does_not_exist_is_the_callers_fault(field, value):
    with (
        BlockingGateway(lambda: Gateway([ScriptedTier("copilot")], settings=SETTINGS)) as gateway,
        pytest.raises(PromptRefused) as refused,
    ):
        gateway.ask("hello", **{field: value})

    assert refused.value.field == field
