"""Retrieval: documents of any size, the passages that answer a question, cited to the character.

The names are resolved when first used, so that importing the package stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache import IndexCache as IndexCache
    from .cite import instructions as instructions
    from .embed import Candidate as Candidate
    from .embed import EmbeddingCache as EmbeddingCache
    from .embed import rerank as rerank
    from .errors import DocumentUnreadable as DocumentUnreadable
    from .grounding import Grounding as Grounding
    from .grounding import check_citations as check_citations
    from .index import PassageIndex as PassageIndex
    from .load import Loaded as Loaded
    from .load import load_document as load_document
    from .load import load_documents as load_documents
    from .passages import PackedContext as PackedContext
    from .passages import Passage as Passage
    from .passages import Quote as Quote

_HOMES = {
    "IndexCache": "cache",
    "Candidate": "embed",
    "EmbeddingCache": "embed",
    "rerank": "embed",
    "DocumentUnreadable": "errors",
    "Loaded": "load",
    "load_document": "load",
    "load_documents": "load",
    "instructions": "cite",
    "Grounding": "grounding",
    "check_citations": "grounding",
    "PassageIndex": "index",
    "PackedContext": "passages",
    "Passage": "passages",
    "Quote": "passages",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
