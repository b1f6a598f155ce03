"""The failover core. The public names are resolved when first used, so that importing the package stays light."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take the name for true; importing `typing` costs `--help` more than argparse does
if TYPE_CHECKING:
    from typing import Any

    from .blocking import BlockingGateway
    from .drill import DRILL_FAULTS, Drill, drilled
    from .errors import (
        AllTiersFailed,
        AnswerInterrupted,
        GatewayError,
        PromptRefused,
        PromptTooLong,
        SettingsInvalid,
        TierFailed,
    )
    from .gateway import Gateway
    from .rag import DocumentUnreadable, load_document
    from .replies import attempts_of, problem_of, reply_of
    from .settings import Settings
    from .standing import Health, Status
    from .types import (
        Answer,
        Attempt,
        AttemptOutcome,
        Delta,
        Document,
        Done,
        Embeddings,
        Event,
        Message,
        Meta,
        OnInterrupt,
        Reason,
        Segment,
        SegmentStarted,
        Source,
        Upload,
        Usage,
    )

__all__ = [
    "DRILL_FAULTS",
    "AllTiersFailed",
    "Answer",
    "AnswerInterrupted",
    "Attempt",
    "AttemptOutcome",
    "BlockingGateway",
    "Delta",
    "Document",
    "DocumentUnreadable",
    "Done",
    "Drill",
    "Embeddings",
    "Event",
    "Gateway",
    "GatewayError",
    "Health",
    "Message",
    "Meta",
    "OnInterrupt",
    "PromptRefused",
    "PromptTooLong",
    "Reason",
    "Segment",
    "SegmentStarted",
    "Settings",
    "SettingsInvalid",
    "Source",
    "Status",
    "TierFailed",
    "Upload",
    "Usage",
    "attempts_of",
    "drilled",
    "load_document",
    "problem_of",
    "reply_of",
]

__version__ = "0.1.0"

_HOMES = {
    "BlockingGateway": "blocking",
    "DocumentUnreadable": "rag",
    "Drill": "drill",
    "DRILL_FAULTS": "drill",
    "Gateway": "gateway",
    "Health": "standing",
    "Settings": "settings",
    "Status": "standing",
    "attempts_of": "replies",
    "drilled": "drill",
    "load_document": "rag",
    "problem_of": "replies",
    "reply_of": "replies",
    **dict.fromkeys(
        (
            "AllTiersFailed",
            "AnswerInterrupted",
            "GatewayError",
            "PromptRefused",
            "PromptTooLong",
            "SettingsInvalid",
            "TierFailed",
        ),
        "errors",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES.get(name, 'types')}", __name__), name)
