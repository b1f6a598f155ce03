"""The fault table through the core, on real sockets: Copilot is at fault, the cloud and this laptop are well."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from gateway_core import AllTiersFailed, AnswerInterrupted, Delta, Done, PromptRefused, PromptTooLong, SegmentStarted
from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

from .conftest import BEFORE_THE_FIRST_TEXT, Build, Providers

WHOLE = DEFAULT_ANSWER


async def failures_of(gateway, backend="copilot"):
    return next(t.circuit.failures for t in (await gateway.status()).tiers if t.backend == backend)


async def circuit_of(gateway, backend="copilot"):
    return next(t.circuit for t in (await gateway.status()).tiers if t.backend == backend)


async def read(gateway, prompt="Tell me.", **options):
    """Events, the text on a reader's screen, and the answer or the error."""
    events, shown, answer, error = [], "", None, None
    try:
        async for event in gateway.stream(prompt, **options):
            events.append(event)
            if isinstance(event, Delta):
                shown += event.text
            elif isinstance(event, SegmentStarted) and event.action == "restart":
                shown = ""
            elif isinstance(event, Done):
                answer = event.answer
    except (AnswerInterrupted, AllTiersFailed) as exc:
        error = exc
    return events, shown, answer, error


async def test_f01_all_is_well(gateway: Build, providers: Providers):
    answer = await gateway().ask("Tell me.")
    assert (answer.text, answer.backend, answer.state) == (WHOLE, "copilot", "closed")
    assert not providers.cloud.paid_calls
    assert answer.usage.output_tokens


@pytest.mark.parametrize(("fault", "reason", "counts"), BEFORE_THE_FIRST_TEXT)
async def test_a_fault_before_the_first_text_is_answered_by_the_cloud(
    gateway: Build, providers: Providers, fault: str, reason: str, counts: int
):
    providers.copilot.script(*[fault] * 3)
    made = gateway()
    begun = time.monotonic()
    answer = await made.ask("Tell me.")
    assert time.monotonic() - begun < 6
    assert (answer.text, answer.backend) == (WHOLE, "cloud")
    assert answer.attempts[0].reason == reason, answer.attempts
    assert await failures_of(made) == counts


async def test_f02_a_refused_connection(gateway: Build, providers: Providers):
    made = gateway(copilot_api_base=providers.copilot.url)
    providers.copilot.stop()
    answer = await made.ask("Tell me.")
    assert (answer.backend, answer.attempts[0].reason) == ("cloud", "connect_refused")
    assert await failures_of(made) == 1


async def test_f06_a_dead_pooled_connection_is_replaced_once(gateway: Build, providers: Providers):
    made = gateway()
    await made.ask("Tell me.")
    providers.copilot.script("close_reused", "ok")
    answer = await made.ask("Tell me.")
    assert answer.backend == "copilot"
    assert [a.outcome for a in answer.attempts] == ["failed", "answered"]
    assert await failures_of(made) == 0


async def test_f09_an_outage_of_githubs_look_up_opens_the_circuit(gateway: Build, providers: Providers):
    made = gateway()
    look_up = "/copilot_internal/user"
    providers.copilot.script(*[f"bad_gateway_page@{look_up}"] * 4)
    answers = [await made.ask("Tell me.") for _ in range(4)]
    assert [answer.attempts[0].reason for answer in answers] == ["upstream_5xx"] * 3 + ["circuit_open"]
    assert len(providers.copilot.calls_to(look_up)) == 3


async def test_f11_a_rate_limit_is_waited_out(gateway: Build, providers: Providers):
    made = gateway()
    providers.copilot.script("status_429:retry_after=60")
    await made.ask("Tell me.")
    calls = len(providers.copilot.paid_calls)
    answer = await made.ask("Tell me.")
    assert (answer.backend, answer.attempts[0].outcome) == ("cloud", "skipped")
    assert len(providers.copilot.paid_calls) == calls
    assert 55 < ((await circuit_of(made)).reopens_in or 0) <= 60


async def test_f16_used_up_credits_cost_one_call_and_then_none_until_they_are_back(
    gateway: Build, providers: Providers
):
    providers.copilot.script(then="copilot_quota_exceeded")
    providers.copilot.quota_reset = datetime(2099, 12, 1, tzinfo=UTC).timestamp()
    made = gateway()
    first = await made.ask("Tell me.")
    assert (first.backend, first.attempts[0].reason) == ("cloud", "quota_used_up")
    assert "back on 2099-12-01" in first.attempts[0].detail
    assert len(providers.copilot.paid_calls) == 1
    calls = len(providers.copilot.calls)
    later = [await made.ask("Tell me.") for _ in range(3)]
    assert {(answer.backend, answer.attempts[0].outcome) for answer in later} == {("cloud", "skipped")}
    assert len(providers.copilot.calls) == calls


@pytest.mark.parametrize("limit", ["copilot_max_in_flight", "copilot_max_rpm"])
async def test_over_a_courtesy_limit_little_time_is_kept_for_the_next_tier(
    gateway: Build, providers: Providers, limit: str
):
    providers.copilot.script("hang")
    made = gateway(**{limit: 1}, first_token_timeout=20)
    holder = asyncio.create_task(made.ask("Tell me.", tier="copilot"))
    for _ in range(500):
        if providers.copilot.paid_calls:
            break
        await asyncio.sleep(0.01)
    answer = await made.ask("Tell me.", deadline_s=4)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    assert (answer.backend, answer.attempts[0].reason) == ("cloud", "courtesy_limit")
    assert await failures_of(made) == 0


async def test_f17_the_callers_fault_goes_no_further(gateway: Build, providers: Providers):
    providers.copilot.script("off_topic")
    made = gateway()
    with pytest.raises(PromptRefused):
        await made.ask("Tell me.")
    assert not providers.cloud.paid_calls
    assert await failures_of(made) == 0


async def test_f18_too_long_for_everybody(gateway: Build, providers: Providers):
    providers.copilot.script("context_too_long", then="context_too_long")
    providers.cloud.script("context_length_exceeded", then="context_length_exceeded")
    providers.ollama.script("context_overflow", then="context_overflow")
    with pytest.raises(PromptTooLong, match="longer"):
        await gateway().ask("Tell me.")


async def test_f19_a_retired_model_is_replaced_visibly(gateway: Build, providers: Providers):
    answer = await gateway(copilot_model="gpt-4o").ask("Tell me.")
    assert (answer.text, answer.backend) == (WHOLE, "copilot")
    assert any("gpt-4o" in note and (answer.model or "?") in note for note in answer.notes), answer.notes


async def test_f20_a_content_filter_is_an_answer(gateway: Build, providers: Providers):
    providers.copilot.script("finish:content_filter")
    answer = await gateway().ask("Tell me.")
    assert (answer.backend, answer.finish_reason) == ("copilot", "content_filter")


async def test_f26_an_empty_answer_is_an_answer(gateway: Build, providers: Providers):
    providers.copilot.script("empty_text")
    answer = await gateway().ask("Tell me.")
    assert (answer.backend, answer.text) == ("copilot", "")
    assert answer.notes


@pytest.mark.parametrize("fault", ["bad_utf8", "split_bytes", "crlf", "cr_only", "bom", "u2028", "data_after_done"])
async def test_f50_f53_odd_bytes_are_the_same_text(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    answer = await gateway().ask("Tell me.")
    assert answer.backend == "copilot"
    plain = "".join(c for c in answer.text if c.isascii())
    assert plain.split()[:3] == WHOLE.split()[:3]
    if fault not in ("bad_utf8", "u2028"):
        assert answer.text == WHOLE


async def test_f51_an_endless_line_is_cut(gateway: Build, providers: Providers):
    providers.copilot.script("long_line:5000000")
    answer = await gateway().ask("Tell me.")
    assert (answer.text, answer.backend) == (WHOLE, "cloud")
    assert await gateway().status()


async def test_f52_a_repeated_event_is_dropped(gateway: Build, providers: Providers):
    providers.copilot.script("repeat_sequence:5")
    answer = await gateway().ask("Tell me.")
    assert (answer.text, answer.backend) == (WHOLE, "copilot")


CUTS = ["cut_after:40", "end_after:40", "error_after:40", "stall_after:40", "bad_line_after:40"]


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_continue_leaves_no_gap_and_no_repeat(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    made = gateway()
    events, shown, answer, _ = await read(made)
    assert answer is not None
    assert shown == answer.text == WHOLE
    assert [s.backend for s in answer.segments] == ["copilot", "cloud"]
    assert answer.segments[0].end == len("".join(tokens_of(WHOLE)[:40]))
    assert sum(isinstance(e, SegmentStarted) for e in events) == 1
    assert await failures_of(made) == 1


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_stop_is_an_explained_error(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    _, shown, answer, error = await read(gateway(), on_interrupt="stop")
    assert answer is None
    assert isinstance(error, AnswerInterrupted)
    assert shown == error.partial.text == "".join(tokens_of(WHOLE)[:40])
    assert not providers.cloud.paid_calls


@pytest.mark.parametrize("fault", CUTS)
async def test_f54_restart_shows_only_the_new_answer(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    events, shown, answer, _ = await read(gateway(), on_interrupt="restart")
    assert answer is not None
    assert shown == answer.text == WHOLE
    assert [s.backend for s in answer.segments] == ["cloud"]
    assert [e.action for e in events if isinstance(e, SegmentStarted)] == ["restart"]


@pytest.mark.parametrize("fault", CUTS)
async def test_in_one_piece_the_next_tier_answers_whole(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    answer = await gateway().ask("Tell me.")
    assert (answer.text, [s.backend for s in answer.segments]) == (WHOLE, ["cloud"])


@pytest.mark.parametrize("fault", ["hang", "stall_after:3"])
async def test_f55_f56_leaving_closes_the_upstream(gateway: Build, providers: Providers, fault: str):
    made = gateway(first_token_timeout=30, stall_timeout=30)
    await made.status()
    providers.copilot.script(fault)

    async def leave() -> None:
        async for event in made.stream("Tell me."):
            if isinstance(event, Delta) and event.seq == 2:
                return

    task = asyncio.ensure_future(leave())
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(providers.copilot.wait_idle)
    assert providers.copilot.paid_calls[-1].disconnected
    assert await failures_of(made) == 0


async def test_f59_f61_threshold_probe_and_recovery(gateway: Build, providers: Providers):
    made = gateway(recovery_timeout=4.0, connect_timeout=5, first_token_timeout=5, stall_timeout=5)
    providers.copilot.script(*["status_500"] * 3, then="ok")
    for _ in range(3):
        assert (await made.ask("Tell me.")).backend == "cloud"
    answer = await made.ask("Tell me.")
    assert (answer.backend, answer.state) == ("cloud", "open")
    assert len(providers.copilot.paid_calls) == 3
    await asyncio.sleep(4.05)
    providers.copilot.script("slow_first:2", then="ok")
    answers = await asyncio.gather(*(made.ask("Tell me.") for _ in range(50)))
    assert len(providers.copilot.paid_calls) == 4
    assert sum(a.backend == "copilot" for a in answers) == 1
    assert (await made.ask("Tell me.")).state == "closed"


async def test_f72_both_clouds_down(gateway: Build, providers: Providers):
    providers.copilot.script(then="status_500")
    providers.cloud.script(then="status_500")
    answer = await gateway().ask("Tell me.")
    assert (answer.text, answer.backend, answer.mode) == (WHOLE, "local", "ollama")


async def test_f73_everybody_down_tells_each_reason_and_cure(gateway: Build, providers: Providers):
    made = gateway()
    providers.copilot.script(then="status_500")
    providers.cloud.script(then="status_500")
    providers.ollama.stop()
    for _ in range(3):
        with pytest.raises(AllTiersFailed):
            await made.ask("Tell me.")
    with pytest.raises(AllTiersFailed) as caught:
        await made.ask("Tell me.")
    told = {a.backend: a for a in reversed(caught.value.attempts)}
    assert set(told) == {"copilot", "cloud", "local"}
    assert told["local"].cure
    assert 200 < (caught.value.retry_after or 0) <= 300


async def test_f74_a_missing_local_model_names_the_cure(gateway: Build, providers: Providers):
    providers.ollama.configure("models", [])
    made = gateway(local_model="llama3")
    with pytest.raises(AllTiersFailed) as caught:
        await made.ask("Tell me.", tier="local")
    assert any("ollama pull llama3" in a.cure for a in caught.value.attempts), caught.value.attempts


@pytest.mark.parametrize("fault", ["cut_after:20", "error_after:20", "end_after:20"])
async def test_f76_f77_ollama_dies_in_mid_answer(gateway: Build, providers: Providers, fault: str):
    providers.ollama.script(fault)
    _, shown, _, error = await read(gateway(), tier="local")
    assert isinstance(error, AnswerInterrupted)
    assert shown == "".join(tokens_of(WHOLE)[:20])


async def test_f78_another_program_on_ollamas_port(gateway: Build, providers: Providers):
    providers.ollama.script(then="html_200", free="html_200")
    with pytest.raises(AllTiersFailed) as caught:
        await gateway().ask("Tell me.", tier="local")
    assert caught.value.attempts[0].detail


async def test_f93_a_model_that_thinks_is_not_cut(gateway: Build, providers: Providers):
    providers.copilot.script("thinking:1.5")
    answer = await gateway().ask("Tell me.")
    assert (answer.text, answer.backend) == (WHOLE, "copilot")
    assert len(providers.copilot.paid_calls) == 1


async def test_f95_two_cuts_three_writers(gateway: Build, providers: Providers):
    providers.copilot.script("cut_after:20")
    providers.cloud.script("cut_after:20")
    made = gateway()
    _, shown, answer, _ = await read(made)
    assert answer is not None
    assert shown == answer.text == WHOLE
    assert [s.backend for s in answer.segments] == ["copilot", "cloud", "local"]


async def test_f96_max_tokens_counts_over_both(gateway: Build, providers: Providers):
    providers.copilot.script("cut_after:20")
    _, shown, answer, _ = await read(gateway(), max_tokens=30)
    assert answer is not None
    assert (shown, answer.finish_reason) == ("".join(tokens_of(WHOLE)[:30]), "length")


@pytest.mark.parametrize("manner", ["repeat:5", "preamble", "restart_whole"])
async def test_f97_the_next_tier_repeats_or_is_polite(gateway: Build, providers: Providers, manner: str):
    providers.copilot.script("cut_after:40")
    providers.cloud.script(manner)
    _, shown, answer, _ = await read(gateway())
    assert answer is not None
    assert shown == answer.text == WHOLE
