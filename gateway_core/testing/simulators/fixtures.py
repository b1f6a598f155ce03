"""Error replies as the providers word them, by name."""

from __future__ import annotations

from typing import Any

from .wire import Reply, json_reply, text_reply

REQUEST_ID = "56F6:3C945:40D0584:4861E95:6AA8C317"


def _copilot(status: int, code: str, message: str, **headers: str) -> Reply:
    body = {"error": {"message": message, "code": code}}
    return json_reply(body, status, x_github_request_id=REQUEST_ID, **headers)


def _copilot_text(status: int, text: str, **headers: str) -> Reply:
    return text_reply(text, status, x_github_request_id=REQUEST_ID, **headers)


def _login(error: str, description: str) -> Reply:
    return json_reply({"error": error, "error_description": description, "error_uri": "https://docs.github.com"})


NO_ACCESS = {
    "can_signup_for_limited": True,
    "error_details": {
        "message": "You do not have access to GitHub Copilot.",
        "notification_id": "not_signed_up",
        "title": "Sign up for GitHub Copilot",
        "url": "https://github.com/settings/copilot",
    },
    "message": "Resource not accessible by integration",
    "reason": "no_access",
}

POLICY = {
    "error": {"message": "access denied by policy", "code": "forbidden"},
    "error_details": {
        "message": "Your organization has disabled Copilot for command lines.",
        "notification_id": "feature_disabled",
        "title": "Copilot is switched off",
        "url": "https://docs.github.com/copilot/policies",
    },
}

COPILOT: dict[str, Reply] = {
    "authentication_failed": _copilot_text(401, "unauthorized: AuthenticateToken authentication failed"),
    "token_expired": _copilot_text(401, "unauthorized: token expired"),
    "ide_token_expired": _copilot_text(401, "IDE token expired: unauthorized: token expired"),
    "bad_credentials": json_reply(
        {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401"},
        401,
        x_github_request_id=REQUEST_ID,
    ),
    "missing_editor_version": _copilot_text(400, "bad request: missing Editor-Version header for IDE auth"),
    "pat_not_supported": _copilot_text(
        400,
        "checking third-party user token: bad request: Personal Access Tokens are not supported for this endpoint",
    ),
    "wrong_endpoint": _copilot_text(
        400,
        '{"error":{"message":"model \\"gpt-6-luna\\" is not accessible via the /chat/completions endpoint",'
        '"code":"unsupported_api_for_model"}}',
    ),
    "model_not_supported": json_reply(
        {
            "error": {
                "message": "The requested model is not supported.",
                "code": "model_not_supported",
                "param": "model",
                "type": "invalid_request_error",
            }
        },
        400,
        x_github_request_id=REQUEST_ID,
    ),
    "context_too_long": _copilot(
        400, "model_max_prompt_tokens_exceeded", "prompt token count of 300123 exceeds the limit of 272000"
    ),
    "off_topic": _copilot(400, "off_topic", "the question is off topic"),
    "invalid_prompt": _copilot(400, "invalid_prompt", "Invalid prompt: flagged as potentially violating usage policy."),
    "invalid_request": _copilot(400, "invalid_request_body", "messages: wrong type"),
    "content_filter": _copilot(400, "content_filter", "The response was filtered."),
    "cyber_policy": _copilot(400, "cyber_policy", "This request was blocked."),
    "content_filter_422": _copilot_text(422, "content filtered"),
    "copilot_quota_exceeded": _copilot(402, "quota_exceeded", "You have no quota"),
    "quota_exceeded_text": _copilot_text(402, "quota exceeded"),
    "free_quota_exceeded": _copilot(
        402, "free_quota_exceeded", "Monthly limit reached", retry_after="Tue, 01 Dec 2026 00:00:00 GMT"
    ),
    "billing_not_configured": _copilot(402, "billing_not_configured", "Billing is not configured"),
    "session_quota_exceeded": _copilot(402, "session_quota_exceeded", "Session limit reached", retry_after="18000"),
    "overage_limit_reached": _copilot(402, "overage_limit_reached", "Overage limit reached"),
    "forbidden_policy": _copilot(403, "forbidden", "access denied by policy"),
    "policy_details": json_reply(POLICY, 403, x_github_request_id=REQUEST_ID),
    "no_access": json_reply(NO_ACCESS, 403, x_github_request_id=REQUEST_ID),
    "extension_blocked": _copilot(403, "extension_blocked", "this client is blocked"),
    "login_page_403": text_reply("<html>Login required</html>", 403, "text/html"),
    "blocked_by_firewall": text_reply("Request blocked. Incident 4711.", 400),
    "bad_gateway_page": text_reply("<html><h1>502 Bad Gateway</h1></html>", 502, "text/html"),
    "misdirected": _copilot_text(421, "Misdirected Request"),
    "failed_dependency": _copilot_text(424, "failed dependency"),
    "global_rate_limit": _copilot(429, "user_global_rate_limited:pro", "rate limit", retry_after="6"),
    "weekly_limit": _copilot(429, "user_weekly_rate_limited", "rate limit", retry_after="208800"),
    "model_rate_limit": _copilot(
        429, "user_model_rate_limited", "busy", retry_after="40", x_ratelimit_exceeded="model"
    ),
    "integration_rate_limit": _copilot(429, "integration_rate_limited", "rate limit", retry_after="30"),
    "model_overloaded": _copilot(429, "model_overloaded", "the model is overloaded"),
    "upstream_rate_limit": _copilot(503, "upstream_provider_rate_limit", "provider rate limit", retry_after="15"),
    "github_rate_limit": json_reply(
        {
            "message": "API rate limit exceeded for user ID 1.",
            "documentation_url": "https://docs.github.com/rest",
            "status": "403",
        },
        403,
        x_github_request_id=REQUEST_ID,
    ),
    "client_too_old": _copilot_text(466, "client not supported, please update"),
    "upstream_connect_error": _copilot_text(503, "upstream connect error"),
    "device_flow_disabled": _login("device_flow_disabled", "Device Flow must be explicitly enabled for this App"),
    "incorrect_client_credentials": _login("incorrect_client_credentials", "The client_id is not valid"),
    "expired_token": _login("expired_token", "The device code has expired"),
    "access_denied": _login("access_denied", "The authorization request was denied."),
}


def openai_error(status: int, kind: str, code: str | None, message: str, param: str | None = None, **h: str) -> Reply:
    return json_reply({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, **h)


def _spent(code: str) -> Reply:
    message = "You exceeded your current quota, please check your plan and billing details."
    return openai_error(429, "insufficient_quota", code, message)


_REQUEST = "invalid_request_error"

OPENAI: dict[str, Reply] = {
    "invalid_api_key": openai_error(401, _REQUEST, "invalid_api_key", "Incorrect API key provided: sk-***."),
    "unsupported_country": openai_error(
        403, "request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"
    ),
    "model_not_found": openai_error(
        404, _REQUEST, "model_not_found", "The model does not exist or you do not have access to it."
    ),
    "context_length_exceeded": openai_error(
        400,
        _REQUEST,
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 300123 tokens.",
        "messages",
    ),
    "content_policy_violation": openai_error(
        400, _REQUEST, "content_policy_violation", "Your request was rejected by our safety system."
    ),
    "invalid_prompt": openai_error(
        400, _REQUEST, "invalid_prompt", "Invalid prompt: flagged as potentially violating our usage policy."
    ),
    "unsupported_temperature": openai_error(
        400,
        _REQUEST,
        "unsupported_parameter",
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "temperature",
    ),
    "invalid_request": openai_error(400, _REQUEST, None, "Invalid type for 'messages'.", "messages"),
    "rate_limit_exceeded": openai_error(
        429, "requests", "rate_limit_exceeded", "Rate limit reached for requests", retry_after="20"
    ),
    "slow_down": openai_error(429, "requests", "slow_down", "Slow down", retry_after_ms="1500"),
    "insufficient_quota": _spent("insufficient_quota"),
    "credit_balance_exhausted": _spent("credit_balance_exhausted"),
    "organization_spend_limit_exceeded": _spent("organization_spend_limit_exceeded"),
    "project_spend_limit_exceeded": _spent("project_spend_limit_exceeded"),
    "organization_usage_limit_exceeded": _spent("organization_usage_limit_exceeded"),
    "server_overloaded": openai_error(
        503, "service_unavailable_error", "server_is_overloaded", "The server is currently overloaded."
    ),
    "azure_429": openai_error(
        429, "requests", "429", "Requests have exceeded rate limit.", retry_after="7", retry_after_ms="6500"
    ),
    "no_credits": json_reply({"error": {"message": "Insufficient credits", "code": 402}}, 402),
    "overloaded_529": json_reply({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 529),
    "capacity_498": json_reply({"error": {"message": "capacity exceeded", "type": "capacity"}}, 498),
    "list_error_429": json_reply(
        [{"error": {"code": 429, "message": "Resource has been exhausted", "status": "RESOURCE_EXHAUSTED"}}], 429
    ),
    "list_error_400": json_reply(
        [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], 400
    ),
    "detail_list_422": json_reply({"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "type": "extra"}]}, 422),
    "string_error_400": json_reply({"error": "something is wrong with the request"}, 400),
}


def ollama_error(status: int, message: str, **more: Any) -> Reply:
    return json_reply({"error": message, **more}, status)


OVERFLOW = (
    "the prompt is longer than the context length currently available to the model; "
    "increase the context length or shorten the prompt"
)

OLLAMA: dict[str, Reply] = {
    "model_missing": ollama_error(404, "model 'llama3' not found"),
    "model_missing_pull": ollama_error(404, 'model "llama3" not found, try pulling it first'),
    "context_overflow": ollama_error(400, OVERFLOW),
    "context_overflow_native": ollama_error(
        400,
        '{"error":{"code":400,"message":"request (5012 tokens) exceeds the available context size (4096 tokens)",'
        '"type":"exceed_context_size_error","n_prompt_tokens":5012,"n_ctx":4096}}',
    ),
    "no_thinking": ollama_error(400, '"llama3" does not support thinking'),
    "no_chat": ollama_error(400, '"all-minilm" does not support chat'),
    "no_tools": ollama_error(400, '"llama3" does not support tools'),
    "out_of_memory": ollama_error(
        500, "llama-server process no longer running: exit status 1 ggml: failed to allocate buffer: out of memory"
    ),
    "more_memory": ollama_error(500, "model requires more system memory (9.6 GiB) than is available (5.1 GiB)"),
    "runner_stopped": ollama_error(
        500,
        "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
        "check ollama server logs for details",
    ),
    "load_timeout": ollama_error(500, "timed out waiting for llama-server to start: context deadline exceeded"),
    "server_busy": ollama_error(503, "server busy, please try again.  maximum pending requests exceeded"),
    "cloud_unreachable": ollama_error(502, "cloud model unreachable"),
    "cloud_unauthorized": ollama_error(401, "unauthorized", signin_url="https://ollama.com/connect"),
    "cloud_disabled": ollama_error(403, "ollama cloud is disabled: remote model is unavailable"),
    "host_refused": Reply(403, b"", ""),
}


# The same names on all three, so that one script fits whichever is asked: name, Copilot's, OpenAI's, Ollama's.
_ALIKE = (
    ("unauthorized", "token_expired", "invalid_api_key", "cloud_unauthorized"),
    ("quota_used_up", "copilot_quota_exceeded", "insufficient_quota", ""),
    ("rate_limited", "global_rate_limit", "rate_limit_exceeded", "server_busy"),
    ("model_gone", "model_not_supported", "model_not_found", "model_missing"),
    ("prompt_refused", "content_filter_422", "content_policy_violation", ""),
    ("context_too_long", "context_too_long", "context_length_exceeded", "context_overflow"),
)
for _name, *_own in _ALIKE:
    for _errors, _theirs in zip((COPILOT, OPENAI, OLLAMA), _own, strict=True):
        if _theirs:
            _errors[_name] = _errors[_theirs]
