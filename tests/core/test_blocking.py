"""The gateway for code that does not await: same answers and errors, and nothing goes on after its reader left."""

import os
import signal
import threading
import time

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


def test_waiting_in_slices_tells_silence_from_the_end():
    with blocking(ScriptedTier("cloud", ["Par", 0.2, "is"])) as gateway:
        stream = gateway.stream("Capital?")
        texts, silences = [], 0
        while not stream.is_over:
            event = stream.wait(0.02)
            silences += event is None
            texts += [event.text] if isinstance(event, Delta) else []

    assert texts == ["Par", "is"]
    assert silences > 1


def test_a_stream_closed_before_it_began_ends_at_once():
    tier = ScriptedTier("cloud", [60.0])
    with blocking(tier) as gateway:
        began = time.monotonic()
        gateway.stream("Capital?").close()

        assert time.monotonic() - began < 1.5


@pytest.mark.skipif(os.name == "nt", reason="signals to oneself are not delivered like this on Windows")
def test_ctrl_c_while_waiting_closes_the_request():
    tier = ScriptedTier("cloud", ["Par", 60.0])
    with blocking(tier) as gateway:
        stream = gateway.stream("Capital?")
        timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(stream)

        assert tier.cancelled == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_asks_with_a_gateway_of_its_own():
    with blocking(ScriptedTier("cloud", ["Paris"])) as gateway:
        gateway.ask("Capital?")
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if gateway.ask("Capital?").text == "Paris" else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("field", "value"), [("tier", "moon"), ("on_interrupt", "perhaps")])
def test_a_word_that_does_not_exist_is_the_callers_fault(field, value):
    with (
        BlockingGateway(lambda: Gateway([ScriptedTier("copilot")], settings=SETTINGS)) as gateway,
        pytest.raises(PromptRefused) as refused,
    ):
        gateway.ask("hello", **{field: value})

    assert refused.value.field == field
