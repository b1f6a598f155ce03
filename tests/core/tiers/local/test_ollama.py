"""Ollama over real sockets, against the simulator."""

import asyncio
import json
from contextlib import aclosing

import pytest

from gateway_core.errors import ContextTooLong, TierBroken, TierFailed, TierUnavailable, TierUnreachable
from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of
from gateway_core.testing.simulators.ollama import LocalModel
from gateway_core.tiers.local_queue import LONGEST_LINE
from gateway_core.types import Message, Prompt, Reason

from .conftest import answer_of, ask, call


def chats(ollama):
    return [c for c in ollama.calls_to("/api/chat") if c.body.get("messages")]


async def until(holds):
    """The simulator runs in a thread of its own: there is nothing to await."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came to pass")


async def test_the_answer_streams_with_usage_and_model(make_tier):
    text, chunks = await answer_of(make_tier())

    assert text == DEFAULT_ANSWER
    assert len([c for c in chunks if c.text]) == len(tokens_of(DEFAULT_ANSWER))
    assert (chunks[-1].finish_reason, chunks[-1].model) == ("stop", "qwen3.5:2b")
    assert chunks[-1].usage.output_tokens == len(tokens_of(DEFAULT_ANSWER))


async def test_every_field_that_tames_the_defaults_is_sent(make_tier, ollama):
    await answer_of(make_tier(), ask(temperature=0.2, max_tokens=30, passthrough={"seed": 7, "stop": ["x"], "n": 1}))

    body = chats(ollama)[0].body
    assert {k: body[k] for k in ("stream", "think", "truncate", "keep_alive")} == {
        "stream": True, "think": False, "truncate": False, "keep_alive": "30m",
    }  # fmt: skip
    assert body["options"] == {"num_ctx": 8192, "num_predict": 30, "temperature": 0.2, "seed": 7, "stop": ["x"]}


async def test_the_window_never_changes_between_calls(make_tier, ollama):
    tier = make_tier()
    ollama.load_delay = 0.01

    await tier.warm()
    for prompt in (ask(), ask("x" * 9000), ask(max_tokens=10), ask(temperature=1.0)):
        await answer_of(tier, prompt)

    calls = ollama.calls_to("/api/chat")
    assert len(calls) == 5
    assert {c.body["options"]["num_ctx"] for c in calls} == {8192}


async def test_the_window_is_no_larger_than_the_model_can(make_tier, ollama):
    ollama.models = {"small:latest": LocalModel("small:latest", context_length=2048)}

    await answer_of(make_tier())

    assert chats(ollama)[0].body["options"]["num_ctx"] == 2048


@pytest.mark.parametrize("fault", ["hang", "reset_after_request", "close_before_reply", "status_500"])
async def test_a_model_about_which_nothing_could_be_learned_is_not_asked_and_looked_at_again(make_tier, ollama, fault):
    ollama.models = {"small:latest": LocalModel("small:latest", context_length=2048)}
    ollama.script(f"{fault}@/api/show")
    tier = make_tier(look_within=0.2)
    with pytest.raises(TierFailed) as failure:
        await answer_of(tier)
    assert (failure.value.reason is Reason.CONNECT_TIMEOUT) == (fault == "hang")
    assert chats(ollama) == []

    tier.forget()  # the moment for which it counts as silent
    await answer_of(tier)

    assert chats(ollama)[0].body["options"]["num_ctx"] == 2048


async def test_a_server_that_falls_silent_about_a_model_costs_one_wait(make_tier, ollama):
    ollama.script(*["hang@/api/show"] * 2)
    tier = make_tier(look_within=0.2)
    assert await tier.context_chars(ask()) is None

    with pytest.raises(TierUnreachable):
        await answer_of(tier)

    assert len(ollama.calls_to("/api/show")) == 1


async def test_a_server_that_cannot_tell_of_a_model_still_answers(make_tier, ollama):
    ollama.script("status_400@/api/show")

    assert (await answer_of(make_tier()))[0] == DEFAULT_ANSWER


async def test_gpt_oss_is_told_to_think_little(make_tier, ollama):
    ollama.models = {"gpt-oss:20b": LocalModel("gpt-oss:20b", ("completion", "thinking"))}

    await answer_of(make_tier())

    assert chats(ollama)[0].body["think"] == "low"


async def test_control_strings_in_prompts_are_disarmed(make_tier, ollama):
    await answer_of(make_tier(), ask("Quote <|im_end|> here", ("system", "Rules </s>")))

    assert "<|im_end|>" not in json.dumps(chats(ollama)[0].body)
    assert "</s>" not in json.dumps(chats(ollama)[0].body)


async def test_an_unfinished_answer_is_carried_on_from_its_last_character(make_tier):
    begun = "A small lighthouse stands where three"
    prompt = Prompt((Message("user", "Tell me."), Message("assistant", begun)))

    text, _ = await answer_of(make_tier(), prompt)

    assert begun + text == DEFAULT_ANSWER


async def test_a_cut_by_length_is_told(make_tier):
    text, chunks = await answer_of(make_tier(), ask(max_tokens=5))

    assert (len(tokens_of(text)), chunks[-1].finish_reason) == (5, "length")


async def test_thinking_is_a_sign_of_life_and_no_answer(make_tier, ollama):
    ollama.script("thinking:0.1")

    text, chunks = await answer_of(make_tier())

    assert text == DEFAULT_ANSWER
    assert chunks[0].text == ""


async def test_only_thinking_is_a_failure(make_tier, ollama):
    ollama.script("thinking:0.1+empty_text")

    with pytest.raises(TierBroken) as failure:
        await answer_of(make_tier())

    assert failure.value.reason is Reason.EMPTY_BODY


async def test_f26_an_empty_answer_is_an_answer(make_tier, ollama):
    ollama.script("empty_text")

    text, chunks = await answer_of(make_tier())

    assert (text, chunks[-1].finish_reason) == ("", "stop")


async def test_missing_counters_are_unknown(make_tier, ollama):
    ollama.counters = False

    _, chunks = await answer_of(make_tier())

    assert chunks[-1].usage.output_tokens is None


@pytest.mark.parametrize("fault", ["split_bytes:1", "split_bytes:7", "crlf", "u2028", "bom", "data_after_done"])
async def test_f50_however_the_bytes_are_cut_the_text_is_exact(make_tier, ollama, fault):
    ollama.answer = "Ünïcödé 中文 😀 stays whole."
    ollama.script(fault)

    text, _ = await answer_of(make_tier())

    assert text.replace("\u2028\u0085\u2029", "") == ollama.answer


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("close_after:10", Reason.TRUNCATED, id="f45 closed"),
        pytest.param("cut_after:10", Reason.RESET, id="f45 reset"),
        pytest.param("end_after:10", Reason.TRUNCATED, id="f46 clean end without done"),
        pytest.param("error_after:10", Reason.UPSTREAM_ERROR, id="f77 error line at 200"),
        pytest.param("bad_line_after:10", Reason.BAD_PAYLOAD, id="f49 bad line"),
        pytest.param("long_line:2000000,after=10", Reason.TOO_LARGE, id="f51 a line too long"),
    ],
)
async def test_a_cut_answer_never_looks_whole(make_tier, ollama, fault, reason):
    ollama.script(fault)
    seen = []

    with pytest.raises(TierBroken) as failure:
        await answer_of(make_tier(), seen=seen)

    assert failure.value.reason is reason
    assert "".join(c.text for c in seen) == "".join(tokens_of(DEFAULT_ANSWER)[:10])
    assert (failure.value.again, [c.finish_reason for c in seen if c.finish_reason]) == (False, [])


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        pytest.param("status_500", TierBroken, Reason.UPSTREAM_5XX, id="500"),
        pytest.param("error_first", TierBroken, Reason.UPSTREAM_ERROR, id="f43 error as the first line"),
        pytest.param("close_before_reply", TierBroken, Reason.PROTOCOL, id="f7 closed without a reply"),
        pytest.param("bad_schema", TierBroken, Reason.BAD_PAYLOAD, id="f24 another schema"),
        pytest.param("empty_body", TierBroken, Reason.TRUNCATED, id="f25 nothing"),
        pytest.param("html_200", TierBroken, Reason.BAD_PAYLOAD, id="a web page"),
        pytest.param("server_busy", TierUnavailable, Reason.BUSY, id="its own queue is full"),
        pytest.param("out_of_memory", TierBroken, Reason.OUT_OF_MEMORY, id="out of memory"),
        pytest.param("runner_stopped", TierBroken, Reason.OUT_OF_MEMORY, id="crash"),
        pytest.param("status_400:message=no thinking", TierBroken, Reason.UPSTREAM_ERROR, id="400"),
    ],
)
async def test_an_error_before_the_first_word_is_explained(make_tier, ollama, fault, kind, reason):
    ollama.script(fault + "@/api/chat")

    with pytest.raises(TierFailed) as failure:
        await answer_of(make_tier())

    assert (type(failure.value), failure.value.reason) == (kind, reason)


async def test_no_connection_is_kept_that_could_die_unnoticed(make_tier, ollama):
    tier = make_tier()

    await answer_of(tier)
    ollama.script("close_reused")

    assert (await answer_of(tier))[0] == DEFAULT_ANSWER


async def test_f73_nothing_listens(make_tier, ollama):
    ollama.stop()

    with pytest.raises(TierUnreachable) as failure:
        await answer_of(make_tier())

    assert failure.value.reason is Reason.CONNECT_REFUSED
    assert "ollama serve" in failure.value.cure


async def test_f78_another_program_holds_the_port(make_tier, ollama):
    for fault in ("html_200", "bad_json", "bad_schema", "status_404"):
        ollama.script(free=fault)

        with pytest.raises(TierUnavailable) as failure:
            await answer_of(make_tier())

        assert "another program" in failure.value.detail
        assert "OLLAMA_BASE_URL" in failure.value.cure


async def test_a_server_that_never_answers_costs_one_wait(make_tier, ollama):
    ollama.script(free="hang")
    tier = make_tier(look_within=0.2)
    assert await tier.context_chars(ask()) is None

    with pytest.raises(TierUnreachable) as failure:
        await answer_of(tier)

    assert failure.value.reason is Reason.CONNECT_TIMEOUT
    assert len(ollama.calls) == 1


async def test_a_server_without_a_version_still_answers(make_tier, ollama):
    ollama.script("status_404@/api/version")

    assert (await answer_of(make_tier()))[0] == DEFAULT_ANSWER


@pytest.mark.parametrize(
    ("fault", "reason", "cure"),
    [
        pytest.param("host_refused", Reason.FORBIDDEN, "127.0.0.1:11434", id="the host guard: an empty 403"),
        pytest.param("cloud_disabled", Reason.CLOUD_MODEL, "installed here", id="its clouds are switched off"),
        pytest.param("cloud_unauthorized", Reason.CLOUD_MODEL, "installed here", id="its cloud wants a sign-in"),
        pytest.param("status_401", Reason.UNAUTHORIZED, "Ollama itself listens", id="a 401 without a way to sign in"),
        pytest.param("html_error:401", Reason.UNAUTHORIZED, "Ollama itself listens", id="a 401 with a page"),
        pytest.param("html_error:403", Reason.FORBIDDEN, "Ollama itself listens", id="a 403 with a page"),
    ],
)
@pytest.mark.parametrize("path", ["/api/show", "/api/chat"])
async def test_who_refuses_access_is_told_by_the_reply(make_tier, ollama, fault, reason, cure, path):
    ollama.script(f"{fault}@{path}")

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier())

    assert (failure.value.reason, cure in failure.value.cure) == (reason, True)


# Which model


async def test_f74_a_missing_model_is_named_with_the_cure(make_tier, ollama):
    ollama.models = {}

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier(model="llama3"))

    assert failure.value.reason is Reason.MODEL_MISSING
    assert failure.value.cure == "ollama pull llama3"


async def test_another_installed_model_answers_visibly(make_tier):
    _, chunks = await answer_of(make_tier(model="phi3"))

    assert chunks[-1].model == "qwen3.5:2b"
    assert chunks[0].note == "phi3 is not installed; qwen3.5:2b answers instead"


async def test_a_model_pulled_meanwhile_is_found(make_tier, ollama):
    tier = make_tier(model="new")
    ollama.models = {}
    with pytest.raises(TierUnavailable):
        await answer_of(tier)

    ollama.models = {"new:latest": LocalModel("new:latest")}

    assert (await answer_of(tier))[0] == DEFAULT_ANSWER


async def test_a_model_removed_meanwhile_is_replaced_on_the_second_ask(make_tier, ollama):
    tier = make_tier()
    await answer_of(tier)
    del ollama.models["qwen3.5:2b"]

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(tier)

    assert (failure.value.reason, failure.value.again) == (Reason.MODEL_MISSING, True)
    assert (await answer_of(tier))[1][-1].model == "llama3:latest"


@pytest.mark.parametrize("how", ["by the setting", "by the request", "because nothing else is there"])
async def test_a_cloud_model_is_never_asked(make_tier, ollama, how):
    name = "qwen3.5:cloud"
    tier = make_tier(model=name if how == "by the setting" else None)
    if how == "because nothing else is there":
        ollama.models = {name: ollama.models[name]}

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(tier, ask(model=name if how == "by the request" else None))

    assert failure.value.reason is Reason.CLOUD_MODEL
    assert ollama.calls_to("/api/chat") == []


async def test_a_cloud_model_under_a_plain_name_is_never_asked(make_tier, ollama):
    ollama.models = {"plain:latest": LocalModel("plain:latest", remote=True)}

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier(model="plain"))

    assert failure.value.reason is Reason.CLOUD_MODEL


async def test_out_of_memory_leads_to_a_smaller_model(make_tier, ollama):
    tier = make_tier(model="llama3")
    ollama.memory = 3_000_000_000

    with pytest.raises(TierBroken) as failure:
        await answer_of(tier)
    _, chunks = await answer_of(tier)

    assert (failure.value.reason, failure.value.again) == (Reason.OUT_OF_MEMORY, True)
    assert (chunks[-1].model, chunks[0].note) == ("qwen3.5:2b", "llama3 cannot run here; qwen3.5:2b answers instead")


async def test_out_of_memory_without_a_smaller_model_ends_here(make_tier, ollama):
    ollama.memory = 1

    with pytest.raises(TierBroken) as failure:
        await answer_of(make_tier())

    assert (failure.value.reason, failure.value.again) == (Reason.OUT_OF_MEMORY, False)


# The window


@pytest.mark.parametrize("native", [False, True])
async def test_an_overflow_names_what_would_fit(make_tier, ollama, native):
    ollama.models = {"m:latest": LocalModel("m:latest", context_length=1024, native_template=native)}
    tier = make_tier()

    with pytest.raises(ContextTooLong) as failure:
        await answer_of(tier, ask("word " * 2000))
    fitting = "word " * (failure.value.limit_chars // 5)

    assert (await answer_of(tier, ask(fitting)))[0] == DEFAULT_ANSWER


async def test_what_is_said_to_fit_does(make_tier, ollama):
    ollama.models = {"m:latest": LocalModel("m:latest", context_length=1024)}
    tier = make_tier()
    size = await tier.context_chars(ask("x" * 50_000))

    planted = "echo: the number is 4711. " + "filler words follow here " * 1000
    text, _ = await answer_of(tier, ask(planted[:size]))

    assert text.startswith("the number is 4711.")


async def test_chinese_takes_more_of_the_window_than_english(make_tier):
    tier = make_tier()

    assert await tier.context_chars(ask("中" * 99)) < 0.6 * await tier.context_chars(ask("a" * 99))


async def test_an_old_server_gets_only_what_surely_fits(make_tier, ollama):
    ollama.models = {"m:latest": LocalModel("m:latest", context_length=1024)}
    ollama.old_server, ollama.version = True, "0.11.0"

    with pytest.raises(ContextTooLong):
        await answer_of(make_tier(), ask("word " * 1000))

    assert chats(ollama) == []


async def test_a_server_that_cut_the_prompt_in_silence_is_told_on(make_tier, ollama):
    ollama.models = {"m:latest": LocalModel("m:latest", context_length=1024)}
    ollama.old_server = True

    _, chunks = await answer_of(make_tier(), ask("word " * 3000))

    assert "only a part" in chunks[-1].note


# The line before it


async def test_f79_questions_stand_in_line_and_are_all_answered(make_tier, ollama):
    ollama.max_queue = 0  # more than one at a time would be refused
    tier = make_tier()
    await look_around(tier)

    answers = await asyncio.gather(*(answer_of(tier, ask(f"echo: {n}")) for n in range(12)))

    assert [text for text, _ in answers] == [str(n) for n in range(12)]
    assert {chunks[0].note for _, chunks in answers} == {
        None,
        *(f"waited for {n} other questions" for n in range(1, 12)),
    }


async def test_f79_a_line_too_long_is_refused(make_tier, ollama):
    ollama.script(then="hang")
    tier = make_tier()
    await look_around(tier)
    waiting = [asyncio.ensure_future(answer_of(tier)) for _ in range(LONGEST_LINE + 1)]
    await until(lambda: ollama.paid_calls)
    await asyncio.sleep(0.05)

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(tier)
    shown = await tier.info()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert (failure.value.reason, failure.value.wait) == (Reason.BUSY, 5.0)
    assert shown.details["waiting"] == LONGEST_LINE
    assert (await tier.info()).details["waiting"] == 0


async def look_around(tier):
    """Have models and facts looked up, so that the line forms at once."""
    await tier.context_chars(ask())


async def test_f55_closing_the_stream_ends_the_call_and_frees_the_slot(make_tier, ollama):
    ollama.token_delay = 0.01
    tier = make_tier()

    async with aclosing(tier.stream(ask(), call())) as chunks:
        async for chunk in chunks:
            if chunk.text:
                break
    await until(lambda: chats(ollama)[0].disconnected)
    ollama.token_delay = 0

    assert (await answer_of(tier))[0] == DEFAULT_ANSWER


async def test_f75_a_cold_load_is_waited_for(make_tier, ollama):
    ollama.load_delay = 0.5

    assert (await answer_of(make_tier()))[0] == DEFAULT_ANSWER


async def test_the_call_is_told_when_the_question_has_left(make_tier, ollama):
    told = []
    one = call()
    heard = type(one)(one.deadline, one.connect_timeout, lambda: told.append(len(chats(ollama))))

    async for _ in make_tier().stream(ask(), heard):
        pass

    assert len(told) == 2  # in line, and sent


# Tools and JSON


async def test_a_tool_call_is_passed_on(make_tier, ollama):
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    ollama.script("tool_call")

    _, chunks = await answer_of(make_tier(), ask(passthrough={"tools": [tool]}))

    calls = [call for chunk in chunks for call in chunk.tool_calls]
    assert [c["function"]["name"] for c in calls] == ["look_up"]
    assert json.loads(calls[0]["function"]["arguments"]) == {}
    assert chunks[-1].finish_reason == "tool_calls"


async def test_a_model_without_tools_says_so(make_tier):
    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier(model="llama3"), ask(passthrough={"tools": [{"type": "function"}]}))

    assert failure.value.reason is Reason.UNSUPPORTED


async def test_a_schema_is_passed_on(make_tier):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    text, _ = await answer_of(make_tier(), ask(passthrough={"response_format": form}))

    assert set(json.loads(text)) == {"city"}


# Status


async def test_status_shows_model_models_and_version(make_tier):
    shown = await make_tier().info()

    assert (shown.configured, shown.model, shown.models) == (True, "qwen3.5:2b", ("llama3:latest", "qwen3.5:2b"))
    assert (shown.details["version"], shown.notes) == ("0.33.0", ())


async def test_status_warns_of_an_old_server(make_tier, ollama):
    ollama.version = "0.16.9"

    assert "known holes" in (await make_tier().info()).notes[0]


async def test_status_of_a_server_that_is_not_there_names_the_cure(make_tier, ollama):
    ollama.stop()

    shown = await make_tier().info()

    assert (shown.configured, shown.model) == (False, None)
    assert "ollama serve" in shown.cure


async def test_a_server_elsewhere_leaves_the_laptop(make_tier):
    assert make_tier(base_url="http://192.168.7.7:11434").leaves_laptop
    assert not make_tier().leaves_laptop


async def test_warming_loads_the_model_and_never_raises(make_tier, ollama):
    assert await make_tier().warm()
    assert ollama.calls_to("/api/chat")[-1].body["messages"] == []
    ollama.stop()
    assert not await make_tier().warm()


async def test_making_the_tier_asks_nothing(make_tier, ollama):
    tier = make_tier()

    assert (tier.missing(), tier.refuses(ask()), ollama.calls) == (None, None, [])
