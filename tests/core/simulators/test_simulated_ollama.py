"""Ollama's traps: cold loads, num_ctx, one slot, silent truncation, thinking, cloud models, errors at 200."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from raw_client import HELLO, WIRES, ask, connect, listen, request, send, wait_for

from gateway_core.testing import OllamaSimulator
from gateway_core.testing.simulators import DEFAULT_ANSWER

LONG = [{"role": "system", "content": "rule"}, *({"role": "user", "content": f"{n} " + "x" * 400} for n in range(60))]


def chat(ollama, **body):
    return ask(ollama, "ollama", **body)


def last(heard):
    return heard.events[-1]


def seconds(heard):
    return last(heard)["load_duration"] / 1e9


# --- surface


def test_it_is_running(ollama):
    assert request(ollama, "GET", "/").payload == b"Ollama is running"
    assert request(ollama, "HEAD", "/").status == 200
    assert request(ollama, "GET", "/api/version").json == {"version": "0.33.0"}


def test_tags_list_what_is_installed_and_one_model_that_is_not_local(ollama):
    rows = {row["name"]: row for row in request(ollama, "GET", "/api/tags").json["models"]}

    assert rows["llama3:latest"]["capabilities"] == ["completion"]
    assert len(rows["llama3:latest"]["digest"]) == 64
    assert rows["qwen3.5:cloud"]["remote_host"]
    assert [name for name, row in rows.items() if "remote_model" in row] == ["qwen3.5:cloud"]


def test_show_tells_capabilities_and_context(ollama):
    shown = request(ollama, "POST", "/api/show", {"model": "qwen3.5:2b"}).json

    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    assert shown["model_info"]["qwen3.context_length"] == 32768


@pytest.mark.parametrize(
    ("verb", "path", "status"), [("GET", "/nothing", 404), ("GET", "/api/chat", 405), ("POST", "/api/tags", 405)]
)
def test_unknown_paths_are_told_in_plain_text(ollama, verb, path, status):
    heard = request(ollama, verb, path)

    assert heard.status == status
    assert heard.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:11434", 200), ("127.0.0.1", 200), ("[::1]:11434", 200), ("box.local", 200), ("192.168.1.5", 200),
        ("evil.example", 403), ("8.8.8.8", 403), ("localhost.evil.example:11434", 403),
    ],
)  # fmt: skip
def test_a_foreign_host_header_is_refused_without_a_word(ollama, host, status):
    heard = request(ollama, "GET", "/api/tags", host=host)

    assert heard.status == status
    assert status == 200 or heard.payload == b""


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": ""}, 400, "model is required"),
        ({"model": "no spaces"}, 400, "invalid model name"),
        ({"model": "all-minilm"}, 400, '"all-minilm:latest" does not support chat'),
        ({"think": True}, 400, '"llama3:latest" does not support thinking'),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, 400, "does not support tools"),
        ({"messages": "hello"}, 400, "json: cannot unmarshal"),
        ({"messages": ["hello"]}, 400, "json: cannot unmarshal"),
    ],
)
def test_wrong_requests_are_told_so(ollama, body, status, words):
    heard = chat(ollama, **body)

    assert heard.status == status
    assert words in heard.json["error"]


@pytest.mark.parametrize(("body", "words"), [(b"", "missing request body"), (b"{x", "invalid character")])
def test_what_is_not_json_is_told_so(ollama, body, words):
    heard = request(ollama, "POST", "/api/chat", body)

    assert heard.status == 400
    assert words in heard.json["error"]


@pytest.mark.parametrize("name", sorted(OllamaSimulator.named_errors))
def test_every_named_error_is_sent_as_it_is(ollama, name):
    ollama.script(name)
    expected = ollama.named_errors[name]

    heard = chat(ollama)

    assert (heard.status, heard.payload) == (expected.status, expected.body)


def test_an_error_after_the_first_line_keeps_status_200(ollama):
    ollama.script("error_after:1")
    heard = chat(ollama)

    assert heard.status == 200
    assert last(heard).keys() == {"error"}


# --- answers


def test_the_last_line_counts_in_nanoseconds(ollama):
    final = last(chat(ollama))

    assert (final["done"], final["done_reason"], final["eval_count"]) == (True, "stop", 60)
    assert isinstance(final["total_duration"], int)
    assert final["total_duration"] > final["load_duration"] > 0


def test_counters_may_be_missing(ollama):
    ollama.counters = False

    assert last(chat(ollama)).keys() == {"model", "created_at", "message", "done", "done_reason"}


def test_num_predict_ends_an_answer_by_length(ollama):
    heard = chat(ollama, options={"num_predict": 3})

    assert (heard.text, last(heard)["done_reason"]) == ("A small lighthouse", "length")
    assert chat(ollama, options={"num_predict": -1}).text == DEFAULT_ANSWER


def test_streaming_is_the_default(ollama):
    path, headers, body = WIRES["ollama"]
    with connect(ollama) as sock:
        send(sock, "POST", path, headers, body)

        assert listen(sock).headers["content-type"] == "application/x-ndjson"


# --- thinking


def thoughts(heard):
    return "".join(event["message"].get("thinking", "") for event in heard.events)


def test_a_model_that_can_think_does_unless_told_not_to(ollama):
    ollama.thinking_time = 0.01

    assert thoughts(chat(ollama, model="qwen3.5:2b"))
    assert thoughts(chat(ollama, model="qwen3.5:2b", think=False)) == ""
    assert thoughts(chat(ollama, model="llama3", think=False)) == ""


def test_thinking_eats_the_tokens_that_the_answer_needs(ollama):
    ollama.thinking_time = 0.01
    heard = chat(ollama, model="qwen3.5:2b", options={"num_predict": 6})

    assert (heard.text, last(heard)["done_reason"], last(heard)["eval_count"]) == ("", "length", 6)


# --- loading


def test_a_cold_load_sends_nothing_until_it_is_done(ollama):
    ollama.load_delay = 0.3
    path, headers, body = WIRES["ollama"]
    with connect(ollama) as sock:
        send(sock, "POST", path, headers, body)
        early = listen(sock, timeout=0.05)
        heard = listen(sock)

    assert early.raw == b""
    assert seconds(heard) >= 0.3
    assert seconds(chat(ollama)) < 0.1


def test_another_num_ctx_loads_the_model_again(ollama):
    ollama.load_delay = 0.05
    loads = [seconds(chat(ollama, **body)) >= 0.05 for body in (
        {"options": {"num_ctx": 2048}}, {"options": {"num_ctx": 2048}}, {}, {"options": {"num_ctx": 4096}},
    )]  # fmt: skip

    assert loads == [True, False, False, True]


def test_ps_tells_the_context_that_was_really_given(ollama):
    assert request(ollama, "GET", "/api/ps").json == {"models": []}
    chat(ollama, options={"num_ctx": 999_999})
    chat(ollama, model="qwen3.5:2b", think=False, keep_alive=-1)

    rows = request(ollama, "GET", "/api/ps").json["models"]
    assert [(row["name"], row["context_length"]) for row in rows] == [("qwen3.5:2b", 4096), ("llama3:latest", 8192)]


@pytest.mark.parametrize(("keep_alive", "stays"), [("5m", True), (0, False), ("0s", False), (-1, True), ("-1m", True)])
def test_keep_alive_decides_how_long_a_model_stays(ollama, keep_alive, stays):
    chat(ollama, keep_alive=keep_alive)

    assert bool(request(ollama, "GET", "/api/ps").json["models"]) is stays


def test_empty_messages_load_and_unload(ollama):
    ollama.load_delay = 0.03
    loaded = chat(ollama, messages=[])
    there = request(ollama, "GET", "/api/ps").json["models"]
    unloaded = chat(ollama, messages=[], keep_alive=0)

    assert (loaded.json["done"], loaded.json["done_reason"]) == (True, "load")
    assert [row["name"] for row in there] == ["llama3:latest"]
    assert unloaded.json["done_reason"] == "unload"
    assert request(ollama, "GET", "/api/ps").json["models"] == []
    assert not ollama.paid_calls


def test_a_model_too_big_for_the_memory_fails_to_start(ollama):
    ollama.memory = 3_000_000_000

    assert "out of memory" in chat(ollama).json["error"]
    assert chat(ollama, model="qwen3.5:2b", think=False).text == DEFAULT_ANSWER


# --- context


def test_a_long_conversation_is_cut_silently_unless_truncate_is_false(ollama):
    told = []
    ollama.answer = lambda body: told.append(body) or "fine"

    silently = chat(ollama, messages=LONG)
    openly = chat(ollama, messages=LONG, truncate=False)

    assert silently.status == 200
    assert last(silently)["prompt_eval_count"] <= 4096
    assert openly.status == 400
    assert "longer than the context length" in openly.json["error"]


def test_a_single_turn_that_is_too_long_keeps_half_of_the_context(ollama):
    heard = chat(ollama, messages=[{"role": "user", "content": "x" * 40_000}])

    assert 2000 <= last(heard)["prompt_eval_count"] <= 2100


def test_a_bigger_context_needs_no_cut(ollama):
    heard = chat(ollama, messages=LONG, truncate=False, options={"num_ctx": 8192})

    assert last(heard)["prompt_eval_count"] > 4096


def test_native_templates_refuse_what_is_too_long(ollama):
    ollama.configure("models", {"raw": {"native_template": True}})
    heard = chat(ollama, model="raw", messages=LONG)

    assert heard.status == 400
    assert isinstance(heard.json["error"], str)
    assert "exceed_context_size_error" in heard.json["error"]


# --- the one slot


def test_questions_are_answered_one_at_a_time_in_order(ollama):
    ollama.script("stall_after:1")
    path, headers, body = WIRES["ollama"]
    with ThreadPoolExecutor(3) as pool:
        with connect(ollama) as holder:
            send(holder, "POST", path, headers, body)
            wait_for(lambda: ollama.calls and ollama.calls[0].tokens_sent)
            answers = [pool.submit(chat, ollama) for _ in range(3)]
            wait_for(lambda: len(ollama.calls) == 4)
            assert [call.status for call in ollama.calls] == [200, None, None, None]
        assert [answer.result().text for answer in answers] == [DEFAULT_ANSWER] * 3

    ollama.wait_idle()
    waited = ollama.calls[1:]
    assert sorted(waited, key=lambda call: call.ended) == waited


def test_a_full_queue_is_busy_and_leaving_it_frees_the_place(ollama):
    ollama.max_queue = 1
    ollama.script("stall_after:1")
    path, headers, body = WIRES["ollama"]
    with connect(ollama) as holder:
        send(holder, "POST", path, headers, body)
        wait_for(lambda: ollama.calls and ollama.calls[0].tokens_sent)
        with connect(ollama) as waiting:
            send(waiting, "POST", path, headers, body)
            assert listen(waiting, timeout=0.05).raw == b""
            busy = chat(ollama)
        wait_for(lambda: ollama.calls[1].disconnected)

    assert (busy.status, "  maximum" in busy.json["error"]) == (503, True)
    assert [call.outcome for call in ollama.calls[1:]] == ["disconnected", "error"]
    assert chat(ollama).text == DEFAULT_ANSWER


def test_who_hangs_up_frees_the_slot_at_once(ollama):
    ollama.token_delay = 0.01
    path, headers, body = WIRES["ollama"]
    with connect(ollama) as sock:
        send(sock, "POST", path, headers, body)
        sock.recv(200)
    ollama.wait_idle()
    ollama.token_delay = 0

    assert ollama.calls[0].disconnected
    assert ollama.calls[0].tokens_sent < 60
    assert chat(ollama).text == DEFAULT_ANSWER


# --- old servers, cloud models, the OpenAI surface


def test_an_old_server_ignores_what_it_does_not_know(ollama):
    ollama.old_server = True

    assert chat(ollama, messages=LONG, truncate=False).status == 200
    assert chat(ollama, think=True).text == DEFAULT_ANSWER
    assert chat(ollama, model="qwen3.5:2b", think=False).text.startswith("<think>")
    assert "capabilities" not in request(ollama, "POST", "/api/show", {"model": "llama3"}).json


@pytest.mark.parametrize(("cloud", "status"), [("ok", 200), ("unauthorized", 401), ("unreachable", 502)])
def test_a_cloud_model_answers_through_the_laptop(ollama, cloud, status):
    ollama.cloud = cloud

    assert chat(ollama, model="qwen3.5:cloud", think=False).status == status


def test_the_openai_surface_streams_and_loses_late_errors(ollama):
    body = {"model": "llama3", "messages": HELLO, "stream": True}
    ollama.script("ok", "error_after:2")

    whole, lost = (request(ollama, "POST", "/v1/chat/completions", body) for _ in range(2))

    assert (whole.text, whole.frames[-1]) == (DEFAULT_ANSWER, "[DONE]")
    assert "error" not in str(lost.events)
    assert lost.frames[-1] != "[DONE]"
    assert request(ollama, "GET", "/v1/models").json["data"][0]["id"] == "llama3:latest"


def test_embeddings_are_made_and_an_empty_input_is_a_ping(ollama):
    two = request(ollama, "POST", "/api/embed", {"model": "all-minilm", "input": ["one", "two"]}).json
    none = request(ollama, "POST", "/api/embed", {"model": "all-minilm", "input": ""}).json

    assert len(two["embeddings"]) == 2
    assert none["embeddings"] == []


# --- pulls


def pull(ollama, model="qwen3.5:0.8b", **body):
    return request(ollama, "POST", "/api/pull", {"model": model, **body})


def test_a_pull_tells_its_progress_and_installs_the_model(ollama):
    heard = pull(ollama)

    statuses = [event["status"] for event in heard.events]
    assert (statuses[0], statuses[-3:]) == (
        "pulling manifest", ["verifying sha256 digest", "writing manifest", "success"],
    )  # fmt: skip
    progress = [event for event in heard.events if "total" in event]
    assert "completed" not in progress[0]
    assert {event["digest"] for event in progress if event.get("completed") == event["total"]} == {
        event["digest"] for event in progress
    }
    assert chat(ollama, model="qwen3.5:0.8b", think=False).text == DEFAULT_ANSWER


def test_a_pull_that_broke_off_goes_on_where_it_was(ollama):
    ollama.script("cut_after:6@/api/pull")
    first, second = pull(ollama), pull(ollama)

    assert first.end == "reset"
    assert second.events[1]["completed"] >= first.events[-1]["completed"] > 0
    assert second.events[-1] == {"status": "success"}


@pytest.mark.parametrize(
    ("fault", "ending"), [("error_after:4", "error"), ("end_after:4", "completed"), ("bad_line_after:4", "status")]
)
def test_a_pull_may_fail_like_any_stream(ollama, fault, ending):
    ollama.script(f"{fault}@/api/pull")

    assert ending in pull(ollama).events[-1]


def test_unknown_and_wrong_names_cannot_be_pulled(ollama):
    assert (pull(ollama, "nope").status, pull(ollama, "no spaces").status) == (500, 400)
    assert pull(ollama, stream=False).json == {"status": "success"}
