"""What a provider complains about, and what that means for the router.

Providers say it in many shapes: `{"error": {...}}`, a list of such, a string, a `detail` list, plain text, a frame in
the middle of a stream. `Complaint` reads all of them. The code decides, then the type, then the status; the words
of a message only when a server gives nothing else. What a provider writes is shown to people only where it helps
and never when it quotes the prompt or a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ..errors import (
    ContextTooLong,
    GatewayError,
    PromptRefused,
    QuotaUsedUp,
    RateLimited,
    TierBroken,
    TierUnavailable,
    Unauthorized,
)
from ..secrets import redact
from ..types import Prompt, Reason
from .parts import quotable

ONE_DAY = 86_400.0
CHARS_PER_TOKEN = 3  # on the safe side for most languages


class Kind(Enum):
    CONTENT = auto()  # the caller's fault, whoever reads it
    CONTEXT = auto()
    MODEL = auto()
    PARAMETER = auto()
    ENDPOINT = auto()  # this model is served at another path
    HOST = auto()  # this account is served by another host
    RATE = auto()
    QUOTA = auto()
    KEY = auto()
    FORBIDDEN = auto()
    TOKEN_KIND = auto()  # this kind of token is not taken, at least not like this
    EDITOR = auto()  # an editor's header is missing
    COUNTRY = auto()  # not served from here
    CLIENT = auto()  # this program is not welcome
    OUTDATED = auto()  # this version of it is not served any more
    ADDRESS = auto()  # no such service at this URL
    BROKEN = auto()


def _table(**codes: str) -> dict[str, Kind]:
    return {code: Kind[kind] for kind, names in codes.items() for code in names.split()}


CODES: Mapping[str, Kind] = _table(
    CONTENT="content_policy_violation content_filter invalid_prompt responsibleaipolicyviolation off_topic cyber_policy"
    " moderation_blocked image_content_policy_violation",
    CONTEXT="context_length_exceeded model_max_prompt_tokens_exceeded string_above_max_length request_too_large"
    " context_window_exceeded exceed_context_size_error input_too_long",
    MODEL="model_not_found model_not_supported model_decommissioned invalid_model deploymentnotfound"
    " model_deprecated model_not_available",
    PARAMETER="unsupported_parameter unsupported_value unknown_parameter unrecognized_parameter",
    ENDPOINT="unsupported_api_for_model",
    RATE="rate_limit_exceeded slow_down rate_limited user_model_rate_limited user_global_rate_limited"
    " user_weekly_rate_limited integration_rate_limited agent_mode_limit_exceeded model_overloaded"
    " upstream_provider_rate_limit too_many_requests resource_exhausted rate_limit_error",
    QUOTA="insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded"
    " project_spend_limit_exceeded organization_usage_limit_exceeded quota_exceeded free_quota_exceeded"
    " session_quota_exceeded overage_limit_reached billing_not_configured additional_spend_limit_reached"
    " billing_error insufficient_balance insufficient_credits billing_hard_limit_reached payment_required",
    KEY="invalid_api_key api_key_invalid authentication_error unauthenticated invalid_authentication"
    " ip_not_authorized account_deactivated",
    FORBIDDEN="permission_error permission_denied forbidden insufficient_permissions access_denied",
    COUNTRY="unsupported_country_region_territory",
    CLIENT="extension_blocked",
    BROKEN="server_error server_is_overloaded overloaded_error api_error internal_error internal unavailable"
    " engine_overloaded capacity_exceeded previous_response_not_found timeout deadline_exceeded",
)
# Words that say nothing the status does not.
VAGUE = frozenset(
    {"invalid_request_error", "invalid_argument", "bad_request", "bad_request_error", "not_found", "error"}
)

STATUSES: Mapping[int, Kind] = {
    400: Kind.CONTENT,
    401: Kind.KEY,
    402: Kind.QUOTA,
    403: Kind.FORBIDDEN,
    404: Kind.MODEL,
    405: Kind.ADDRESS,
    410: Kind.MODEL,
    413: Kind.CONTEXT,
    415: Kind.ADDRESS,
    421: Kind.HOST,
    422: Kind.CONTENT,
    429: Kind.RATE,
    466: Kind.OUTDATED,
    498: Kind.RATE,
}

# The last resort, for replies without a code: all these words, in this meaning.
WORDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.ENDPOINT, ("not accessible via", "endpoint")),
    (Kind.TOKEN_KIND, ("personal access token", "not supported")),
    (Kind.EDITOR, ("editor-version",)),
    (Kind.KEY, ("api key not valid",)),
    (Kind.KEY, ("invalid api key",)),
    (Kind.QUOTA, ("quota exceeded",)),
)

_LIMITS = tuple(
    re.compile(words, re.IGNORECASE)
    for words in (
        r"(?:maximum|max) (?:context|prompt|sequence)[^0-9]{0,40}(\d{3,})",
        r"limit (?:of|is)\D{0,10}(\d{3,})",
        r"> (\d{3,}) maximum",
        r"context (?:size|length|window)[^0-9]{0,20}(\d{3,})",
    )
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One complaint, read. `status` 0: it came in the middle of a stream. `is_structured`: it was JSON.

    `advice`: what the provider itself tells the user to do, with an address.
    """

    kind: Kind
    status: int = 0
    code: str = ""
    message: str = ""
    param: str = ""
    wait: float | None = None
    is_structured: bool = True
    advice: str = ""

    @property
    def label(self) -> str:
        """Status and code, for people."""
        return ", ".join(part for part in (str(self.status or ""), self.code) if part) or "no reason given"

    @property
    def limit_chars(self) -> int | None:
        for pattern in _LIMITS:
            found = pattern.search(self.message)
            if found:
                return int(found[1][:9]) * CHARS_PER_TOKEN
        return None


def complaint_of(status: int, text: str, wait: float | None = None) -> Complaint:
    """Read the body of an error reply."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        # a service that knows the path but not the model says so in JSON
        kind = Kind.ADDRESS if status == 404 else STATUSES.get(status, Kind.BROKEN)
        kind = _by_words(kind, text)
        return Complaint(kind, status, message=text.strip()[:2000], wait=wait, is_structured=False)
    return complaint_in(body, status, wait)


def complaint_in(body: Any, status: int = 0, wait: float | None = None) -> Complaint:
    """Read an error object, wherever it stood."""
    error = _error_of(body)
    said = [str(error.get(key) or "") for key in ("code", "type", "status")]
    said += [str(entry.get("reason") or "") for entry in _dicts(error.get("details"))]
    if isinstance(inner := error.get("innererror"), Mapping):
        said.insert(0, str(inner.get("code") or ""))
    status = status or next((int(code) for code in said if re.fullmatch("[45][0-9]{2}", code)), 0)
    words = [_plain(code) for code in said if code and not code.isdecimal()]
    known = [word for word in words if word in CODES]
    kind = CODES[known[0]] if known else STATUSES.get(status, Kind.BROKEN)
    if kind is Kind.BROKEN and status < 500:
        kind = STATUSES.get(status, kind)  # "api_error" at 401 is a 401
    elif kind is Kind.RATE and status >= 500:
        kind = Kind.BROKEN  # "slow_down" at 503 is a 503
    elif kind is Kind.MODEL and not words and not (isinstance(body, Mapping) and "error" in body):
        kind = Kind.ADDRESS  # `{"detail": "Not Found"}` speaks of the path
    code = next((word for word in (*known, *words) if word not in VAGUE), words[0] if words else "")
    told = error.get("message") or error.get("detail") or ""
    if kind is Kind.MODEL or not known:
        kind = _by_words(kind, str(told))
    param = error.get("param") or _last_place(body) or ""
    return Complaint(kind, status, code[:64], str(told)[:2000], str(param)[:64], wait, advice=_advice_in(body, error))


def _by_words(kind: Kind, text: str) -> Kind:
    if kind not in (Kind.CONTENT, Kind.MODEL, Kind.FORBIDDEN):
        return kind
    text = text[:2000].lower()
    return next((meant for meant, words in WORDS if all(word in text for word in words)), kind)


def _error_of(body: Any) -> Mapping[str, Any]:
    if isinstance(body, list):
        body = next(iter(_dicts(body)), {})
    if not isinstance(body, Mapping):
        return {"message": body}
    error = body.get("error", body)
    if isinstance(error, list):
        error = next(iter(_dicts(error)), {})
    return error if isinstance(error, Mapping) else {**body, "message": error}


def _advice_in(body: Any, error: Mapping[str, Any]) -> str:
    """GitHub's `error_details`: a sentence, and where to go."""
    details = error.get("error_details") or (body.get("error_details") if isinstance(body, Mapping) else None)
    if not isinstance(details, Mapping):
        return ""
    said, url = str(details.get("message") or "")[:200], str(details.get("url") or "")
    return f"{said} {url if url.startswith('https://') else ''}"[:400]


def _dicts(found: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def _plain(code: str) -> str:
    """`user_global_rate_limited:pro` and `RESOURCE_EXHAUSTED`, as they stand in the table."""
    return re.sub(r"[^a-z0-9_.-]", "", code.partition(":")[0].lower())


def _last_place(body: Any) -> str | None:
    """The field named by a list of validation errors (`{"detail": [{"loc": ["body", "stream_options"]}]}`)."""
    if not isinstance(body, Mapping):
        return None
    for entry in _dicts(body.get("detail")):
        place = entry.get("loc")
        if isinstance(place, list) and place:
            return str(next((part for part in place if part != "body"), ""))
    return None


@dataclass(frozen=True, slots=True)
class Cures:
    """What the user can do, in the words of one tier."""

    key: str = ""
    key_kind: str = ""
    access: str = ""
    quota: str = ""
    model: str = ""
    address: str = ""


def failure_in_stream(tier: str, complaint: Complaint, cures: Cures) -> GatewayError:
    """Our error for a complaint after a good head: the tier took the request and then failed, so it counts."""
    failure = failure_from(tier, complaint, cures, billed=True)
    if isinstance(failure, RateLimited):
        return TierBroken(tier, failure.detail, reason=Reason.UPSTREAM_ERROR, wait=failure.wait, may_have_billed=True)
    return failure


def failure_from(
    tier: str, complaint: Complaint, cures: Cures, *, prompt: Prompt | None = None, billed: bool = False
) -> GatewayError:
    """Our error for a complaint that the tier cannot mend by itself."""
    told, wait = complaint.label, complaint.wait
    match complaint.kind:
        case Kind.CONTENT:
            words = shown(complaint.message, prompt)
            return PromptRefused(
                f"{tier} refused the request ({told}){': ' + words if words else ''}", field=complaint.param or None
            )
        case Kind.CONTEXT:
            return ContextTooLong(
                tier,
                f"the prompt is longer than the model's window ({told})",
                limit_chars=complaint.limit_chars,
                cure="send less" + (", or a smaller max_context_chars" if prompt and prompt.documents else ""),
            )
        case Kind.RATE:
            return RateLimited(tier, f"too many requests ({told})", wait=wait)
        case Kind.QUOTA:
            return QuotaUsedUp(tier, f"the quota is used up ({told})", wait=wait, cure=cures.quota)
        case Kind.KEY:
            return Unauthorized(tier, f"the key was refused ({told})", cure=cures.key)
        case Kind.TOKEN_KIND:
            return Unauthorized(tier, f"this kind of key was refused ({told})", cure=cures.key_kind or cures.key)
        case Kind.EDITOR:
            return TierUnavailable(tier, f"it misses an editor's header ({told})", reason=Reason.INTERNAL)
        case Kind.FORBIDDEN:
            words = shown(complaint.message, prompt) if prompt else ""
            cure = shown(complaint.advice, prompt, 400) or cures.access or cures.key
            return Unauthorized(
                tier,
                f"access was denied ({told}){': ' + words if words else ''}",
                reason=Reason.FORBIDDEN,
                cure=cure,
            )
        case Kind.COUNTRY:
            return Unauthorized(
                tier, f"access from here is not allowed ({told})", reason=Reason.FORBIDDEN, wait=ONE_DAY
            )
        case Kind.CLIENT:
            cure = 'it is left alone until "ai-gateway reset"; an update of ai-failover-gateway may help'
            return Unauthorized(tier, f"the service blocks this program ({told})", reason=Reason.FORBIDDEN, cure=cure)
        case Kind.OUTDATED:
            return Unauthorized(
                tier,
                f"the service takes this version of the program no more ({told})",
                reason=Reason.FORBIDDEN,
                wait=ONE_DAY,
                cure="update ai-failover-gateway",
            )
        case Kind.MODEL:
            return TierUnavailable(
                tier, f"the model is not available ({told})", reason=Reason.MODEL_GONE, cure=cures.model
            )
        case Kind.PARAMETER:
            name = f": {complaint.param}" if re.fullmatch(r"[\w.\[\]-]{1,64}", complaint.param) else ""
            return TierUnavailable(tier, f"a parameter was refused{name} ({told})", reason=Reason.PARAMETER_REFUSED)
        case Kind.ENDPOINT:
            return TierUnavailable(tier, f"the model is not served here ({told})", reason=Reason.WRONG_ENDPOINT)
        case Kind.HOST:
            return TierBroken(tier, f"this host does not serve the account ({told})", reason=Reason.WRONG_HOST)
        case Kind.ADDRESS:
            return TierUnavailable(
                tier, f"no such service at this address ({told})", reason=Reason.NOT_CONFIGURED, cure=cures.address
            )
        case Kind.BROKEN:
            reason = Reason.UPSTREAM_5XX if complaint.status else Reason.UPSTREAM_ERROR
            return TierBroken(tier, f"the service failed ({told})", reason=reason, wait=wait, may_have_billed=billed)


def shown(message: str, prompt: Prompt | None, most: int = 200) -> str:
    """A provider's words as a person may see them: none when they quote the prompt, no key, one line."""
    line = " ".join(redact(message).split())[:most]
    if prompt is not None:
        window = 12
        texts = [quotable(m) for m in prompt.messages]
        if any(line[n : n + window] in text for n in range(max(0, len(line) - window + 1)) for text in texts):
            return ""
    return line
