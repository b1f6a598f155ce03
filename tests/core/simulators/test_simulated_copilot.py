"""GitHub Copilot's rules: tokens, hosts, endpoints, models, credits, the exchange and the device log-in."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

import pytest
from raw_client import COPILOT_HEADERS, HELLO, ask, request

from gateway_core.testing import CopilotSimulator
from gateway_core.testing.simulators import DEFAULT_ANSWER

EDITOR = {"editor_version": "ai-gateway/1.0"}
PAT = {"copilot_integration_id": "copilot-developer-cli"}
CHAT = {"model": "gemini-3.8-flash", "messages": HELLO}
RESPONSES = {"model": "gpt-6-luna", "input": "hello"}
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def chat(copilot, token, body=CHAT, path="/chat/completions", **headers):
    return request(copilot, "POST", path, body, authorization=f"Bearer {token}", **headers)


def user(copilot, token="gho_x"):
    return request(copilot, "GET", "/copilot_internal/user", authorization=f"token {token}")


def exchange(copilot, token="ghu_x"):
    return request(copilot, "GET", "/copilot_internal/v2/token", authorization=f"token {token}")


# --- tokens


@pytest.mark.parametrize(
    ("token", "headers", "status", "words"),
    [
        pytest.param("gho_x", {}, 200, b"", id="an OAuth app's token"),
        pytest.param("ghu_x", {}, 200, b"", id="a GitHub App's token"),
        pytest.param("github_pat_x", PAT, 200, b"", id="a fine-grained token with its integration id"),
        pytest.param("github_pat_x", {}, 400, b"Personal Access Tokens are not supported", id="and without"),
        pytest.param("ghs_x", {}, 400, b"Personal Access Tokens are not supported", id="an installation token"),
        pytest.param("ghp_x", PAT, 400, b"Personal Access Tokens are not supported", id="a classic token"),
        pytest.param("hello", {}, 401, b"unauthorized", id="something else"),
        pytest.param("", {}, 401, b"unauthorized", id="nothing"),
        pytest.param("tid=1;exp=9", EDITOR, 401, b"IDE token expired", id="an exchanged token of somebody else"),
    ],
)
def test_each_kind_of_token_is_taken_or_refused_as_bearer(copilot, token, headers, status, words):
    heard = chat(copilot, token, **headers)

    assert heard.status == status
    assert words in heard.payload


@pytest.mark.parametrize(
    ("token", "exchanged", "account"),
    [("ghu_x", 200, 200), ("gho_x", 404, 200), ("github_pat_x", 403, 200), ("ghp_x", 404, 404), ("what", 401, 401)],
)
def test_each_kind_of_token_is_taken_or_refused_by_github(copilot, token, exchanged, account):
    assert (exchange(copilot, token).status, user(copilot, token).status) == (exchanged, account)


def test_a_revoked_token_is_refused_everywhere(copilot):
    copilot.revoke("ghu_x")

    assert [chat(copilot, "ghu_x").status, user(copilot, "ghu_x").status, exchange(copilot).status] == [401] * 3
    assert chat(copilot, "gho_other").status == 200


def test_an_account_without_copilot_is_told_what_to_do(copilot):
    copilot.configure("tokens", {"ghu_x": {"has_copilot": False}})

    assert user(copilot, "ghu_x").json["error_details"]["notification_id"] == "not_signed_up"
    assert [user(copilot, "ghu_x").status, exchange(copilot).status, chat(copilot, "ghu_x").status] == [403] * 3


def test_wanted_headers_that_are_missing_are_noted(copilot):
    chat(copilot, "gho_x", user_agent="me", x_initiator="user")

    assert copilot.calls[0].missing == ("x-github-api-version",)


# --- the exchange


def test_an_exchanged_token_needs_an_editor_version_and_ends(copilot):
    token = exchange(copilot).json["token"]

    assert chat(copilot, token, **EDITOR).status == 200
    assert b"missing Editor-Version" in chat(copilot, token).payload
    copilot.expire_tokens()
    assert b"IDE token expired" in chat(copilot, token, **EDITOR).payload
    assert chat(copilot, exchange(copilot).json["token"], **EDITOR).status == 200


def test_an_exchanged_token_ends_by_itself():
    with CopilotSimulator(exchange_lifetime=0.05) as copilot:
        token = exchange(copilot).json["token"]
        time.sleep(0.06)

        assert chat(copilot, token, **EDITOR).status == 401


def test_the_exchange_may_tell_a_time_that_is_long_past(copilot):
    copilot.clock_skew = -7200
    reply = exchange(copilot).json

    assert reply["expires_at"] < time.time() - 5000
    assert reply["refresh_in"] == 1500
    assert chat(copilot, reply["token"], **EDITOR).status == 200


# --- hosts


def test_the_account_names_the_host_and_any_other_is_the_wrong_one(copilot):
    assert user(copilot).json["endpoints"]["api"] == copilot.url
    copilot.move("gho_x", "/business")

    wrong, right = chat(copilot, "gho_x"), chat(copilot, "gho_x", path="/business/chat/completions")

    assert user(copilot).json["endpoints"]["api"] == f"{copilot.url}/business"
    assert (wrong.status, wrong.payload, right.status) == (421, b"Misdirected Request", 200)
    assert request(copilot, "GET", "/wrong/models", authorization="Bearer gho_x").status == 421


def test_exchange_and_account_may_name_different_hosts(copilot):
    copilot.configure("tokens", {"ghu_x": {"host": "/business", "exchange_host": "/enterprise"}})
    reply = exchange(copilot).json

    assert reply["endpoints"]["api"] == f"{copilot.url}/enterprise"
    assert user(copilot, "ghu_x").json["endpoints"]["api"] == f"{copilot.url}/business"
    assert chat(copilot, reply["token"], path="/enterprise/chat/completions", **EDITOR).status == 200
    assert chat(copilot, reply["token"], path="/business/chat/completions", **EDITOR).status == 421


# --- models and endpoints


@pytest.mark.parametrize(
    ("model", "path", "status"),
    [
        ("gpt-6-luna", "/responses", 200),
        ("mai-code-1.1-flash", "/responses", 200),
        ("gpt-6-luna", "/chat/completions", 400),
        ("gemini-3.8-flash", "/chat/completions", 200),
        ("gemini-3.8-flash", "/responses", 400),
    ],
)
def test_a_model_serves_its_own_endpoint_only(copilot, model, path, status):
    body = {"model": model, **({"input": "hello"} if path == "/responses" else {"messages": HELLO})}
    heard = chat(copilot, "gho_x", body, path)

    assert heard.status == status
    if status == 400:
        assert heard.json["error"]["code"] == "unsupported_api_for_model"
        assert heard.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("model", ["gpt-4o", "claude-haiku-5.5", "no-such-model"])
def test_a_retired_disabled_or_unknown_model_is_not_supported(copilot, model):
    heard = chat(copilot, "gho_x", {**CHAT, "model": model})

    assert (heard.status, heard.json["error"]["code"]) == (400, "model_not_supported")


def test_a_model_can_be_retired(copilot):
    assert chat(copilot, "gho_x").status == 200
    copilot.retire("gemini-3.8-flash")

    rows = request(copilot, "GET", "/models", authorization="Bearer gho_x").json["data"]
    assert "gemini-3.8-flash" not in [row["id"] for row in rows]
    assert chat(copilot, "gho_x").status == 400


def test_the_list_of_models_says_what_each_serves_unless_told_not_to(copilot):
    def rows():
        listed = request(copilot, "GET", "/models", authorization="Bearer gho_x").json["data"]
        return {row["id"]: row for row in listed}

    assert rows()["gpt-6-luna"]["supported_endpoints"] == ["/responses", "ws:/responses"]
    assert rows()["gpt-6-luna"]["is_chat_default"]
    assert rows()["claude-haiku-5.5"]["policy"]["state"] == "disabled"
    assert rows()["text-embedding-3-small"]["capabilities"]["type"] == "embeddings"
    copilot.advertise_endpoints = False
    assert "supported_endpoints" not in rows()["gpt-6-luna"]


@pytest.mark.parametrize("parameter", ["temperature", "top_p", "max_tokens"])
def test_responses_refuses_the_parameters_of_older_models(copilot, parameter):
    heard = chat(copilot, "gho_x", {**RESPONSES, parameter: 1}, "/responses")

    assert (heard.status, heard.json["error"]["param"]) == (400, parameter)


def test_a_prompt_may_be_too_long(copilot):
    copilot.max_prompt_tokens = 10
    heard = chat(copilot, "gho_x", {**CHAT, "messages": [{"role": "user", "content": "x" * 100}]})

    assert (heard.status, heard.json["error"]["code"]) == (400, "model_max_prompt_tokens_exceeded")


@pytest.mark.parametrize("body", [b"{", b"[]", {"model": "gemini-3.8-flash"}, {**CHAT, "messages": ["x"]}])
def test_a_wrong_body_is_a_400(copilot, body):
    assert chat(copilot, "gho_x", body).status == 400


# --- credits and headers


def test_answers_cost_credits_and_errors_do_not(copilot):
    copilot.configure("tokens", {"gho_x": {"credits": 0.005}})
    copilot.script("status_500", "cut_after:0")

    statuses = [chat(copilot, "gho_x").status for _ in range(5)]

    assert statuses == [500, 200, 200, 200, 402]
    assert copilot.calls[-1].paid is False
    quota = user(copilot).json["quota_snapshots"]["premium_interactions"]
    assert (quota["has_quota"], quota["remaining"], quota["quota_reset_at"]) == (False, 0, 1796083200)


def test_answers_carry_githubs_headers_and_their_cost(copilot):
    heard = ask(copilot, "copilot")

    snapshot = parse_qs(heard.headers["x-quota-snapshot-premium_interactions"])
    assert snapshot.keys() == {"ent", "ov", "ovPerm", "rem", "rst"}
    assert heard.headers["x-github-request-id"]
    assert heard.events[-1]["copilot_usage"] == {"total_nano_aiu": 4_200_000}
    assert ask(copilot, "responses").events[-1]["copilot_usage"] == {"total_nano_aiu": 4_200_000}


def test_every_real_reply_has_a_request_id_and_what_is_in_the_way_has_none(copilot):
    copilot.script(*copilot.named_errors)
    heard = {name: ask(copilot, "copilot") for name in copilot.named_errors}

    without = {name for name, reply in heard.items() if "x-github-request-id" not in reply.headers}
    assert without == {
        "login_page_403", "blocked_by_firewall", "bad_gateway_page",
        "device_flow_disabled", "incorrect_client_credentials", "expired_token", "access_denied",
    }  # fmt: skip
    assert heard["weekly_limit"].headers["retry-after"] == "208800"
    assert heard["free_quota_exceeded"].headers["retry-after"].endswith("GMT")
    assert heard["copilot_quota_exceeded"].json["error"]["code"] == "quota_exceeded"
    assert "retry-after" not in heard["copilot_quota_exceeded"].headers


def test_a_named_error_takes_another_retry_after(copilot):
    copilot.script("weekly_limit:retry_after=5")

    assert ask(copilot, "copilot").headers["retry-after"] == "5"


# --- frames


def test_chat_streams_begin_with_an_empty_frame_and_a_comment(copilot):
    heard = ask(copilot, "copilot")

    assert heard.pieces[0].startswith(b'data: {"choices":[],"created":0,"id":"","prompt_filter_results"')
    assert heard.pieces[1] == b": keep-alive\n\n"
    chunks = heard.events[1:]
    assert all("object" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    last = chunks[-1]["choices"][0]
    assert (last["delta"], last["finish_reason"]) == ({"content": None}, "stop")
    assert heard.frames[-1] == "[DONE]"


def test_responses_take_calls_and_their_results_as_items_without_a_role(copilot):
    items = [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]

    assert chat(copilot, "gho_x", {**RESPONSES, "input": items}, "/responses").status == 200


def test_responses_give_each_event_another_item_id_and_no_done(copilot):
    heard = ask(copilot, "responses")

    ids = [event["item_id"] for event in heard.events if "item_id" in event]
    assert len(set(ids)) == len(ids) == 60
    assert heard.events[-1]["response"]["output"] == []
    assert b"[DONE]" not in heard.payload
    assert heard.payload.startswith(b"event: response.created\n")


def test_an_error_in_responses_may_be_a_failed_response(copilot):
    copilot.script("error_after:2", "error_after:2,failed=1,code=model_overloaded")

    plain, failed = (ask(copilot, "responses").events[-1] for _ in range(2))

    assert (plain["type"], plain["code"]) == ("error", "internal_error")
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "model_overloaded")


def test_text_and_tool_call_come_as_two_choices_when_not_streamed(copilot):
    copilot.script("tool_call")

    text, call = (choice["message"] for choice in ask(copilot, "copilot", stream=False).json["choices"])

    assert text["content"]
    assert call["tool_calls"][0]["function"]["name"] == "look_up"


def test_auto_needs_a_session(copilot):
    session = request(copilot, "POST", "/models/session", {}, **COPILOT_HEADERS).json["session_token"]
    body = {"model": "auto", "input": "hello"}

    assert chat(copilot, "gho_x", body, "/responses").status == 400
    assert chat(copilot, "gho_x", body, "/responses", copilot_session_token=session).status == 200


def test_free_routes_answer(copilot):
    assert request(copilot, "GET", "/_ping").payload == b"OK"
    assert request(copilot, "POST", "/models/session", {}, **COPILOT_HEADERS).json["selected_model"] == "gpt-6-luna"
    texts = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    assert len(chat(copilot, "gho_x", texts, "/embeddings").json["data"]) == 2
    assert chat(copilot, "gho_x", {**texts, "input": "a"}, "/embeddings").status == 400
    assert request(copilot, "GET", "/nothing").status == 404
    assert not any(call.paid for call in copilot.calls)


# --- the device log-in


def begin(copilot, accept="application/json", **fields):
    return request(copilot, "POST", "/login/device/code", {"client_id": "me", **fields}, accept=accept)


def poll(copilot, code, **fields):
    body = {"client_id": "me", "device_code": code, "grant_type": GRANT, **fields}
    return request(copilot, "POST", "/login/oauth/access_token", body, accept="application/json").json


def test_a_patient_client_gets_a_token_that_works(copilot):
    copilot.configure("device", {"interval": 0.02})
    begun = begin(copilot).json

    pending = poll(copilot, begun["device_code"])
    time.sleep(begun["interval"])
    token = poll(copilot, begun["device_code"])["access_token"]

    assert pending["error"] == "authorization_pending"
    assert begun["verification_uri"].startswith(copilot.url)
    assert chat(copilot, token).status == 200


def test_an_impatient_client_is_slowed_down_for_good(copilot):
    code = begin(copilot).json["device_code"]

    errors = [poll(copilot, code) for _ in range(3)]

    assert [(error["error"], error.get("interval")) for error in errors] == [
        ("authorization_pending", None), ("slow_down", 10), ("slow_down", 15),
    ]  # fmt: skip


def test_the_user_decides(copilot):
    copilot.configure("device", {"interval": 0, "approve_after": None})
    code = begin(copilot).json["device_code"]

    assert poll(copilot, code)["error"] == "authorization_pending"
    assert request(copilot, "GET", "/login/device").status == 200
    assert "access_token" in poll(copilot, code)
    copilot.deny_device()
    assert poll(copilot, code)["error"] == "access_denied"


def test_a_log_in_ends_and_wrong_fields_are_told(copilot):
    copilot.configure("device", {"expires_in": 0})
    code = begin(copilot).json["device_code"]

    assert poll(copilot, code)["error"] == "expired_token"
    assert poll(copilot, "other")["error"] == "incorrect_device_code"
    assert poll(copilot, code, grant_type="password")["error"] == "unsupported_grant_type"
    copilot.script("device_flow_disabled@/login/device/code")
    assert begin(copilot).json["error"] == "device_flow_disabled"


def test_unknown_clients_and_forms_are_answered_as_github_does(copilot):
    copilot.configure("device", {"client_ids": ["known"]})

    assert begin(copilot).status == 404
    form = begin(copilot, accept="*/*", client_id="known")
    assert form.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert parse_qs(form.payload.decode())["user_code"] == ["WDJB-MJHT"]


def test_settings_made_by_http_are_forgotten_by_reset(copilot):
    request(copilot, "POST", "/_sim/config", {"tokens": {"gho_x": {"credits": 0}}})
    assert chat(copilot, "gho_x").status == 402
    request(copilot, "POST", "/_sim/do", {"action": "revoke", "token": "gho_y"})
    assert chat(copilot, "gho_y").status == 401

    copilot.reset()

    assert [chat(copilot, token).status for token in ("gho_x", "gho_y")] == [200, 200]
    assert DEFAULT_ANSWER in ask(copilot, "copilot", stream=False).payload.decode()
