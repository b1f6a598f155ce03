"""What goes out beside the token: our own name always, and what only some tokens are taken with.

Whether those are needed is known by the kind of token, else learned from a refusal. A refused request is measured by
what it carried itself: others may have learned meanwhile.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from .account import Bearer
from .tokens import Kind, Token

API_VERSION = "2026-06-01"
PAT_INTEGRATION = "copilot-developer-cli"  # the only one that personal access tokens are taken with


@dataclass(frozen=True, slots=True)
class Extras:
    """What one request carries for the sake of its token."""

    integration: str | None = None
    editor: bool = False


class Headers:
    """Makes the headers of requests. `integration` is the one that the user chose."""

    def __init__(self, integration: str | None, user_agent: str) -> None:
        self._integration = integration
        self._user_agent = user_agent
        self._needs_integration = False
        self._needs_editor = False

    def extras(self, token: Token, bearer: Bearer) -> Extras:
        needs = self._needs_integration or token.kind in (Kind.FINE_GRAINED, Kind.INSTALLATION)
        integration = self._integration or (PAT_INTEGRATION if needs else None)
        return Extras(integration, bearer.is_exchanged or self._needs_editor)

    def of(self, bearer: Bearer, extras: Extras) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {bearer.secret.reveal()}",
            "content-type": "application/json",
            "x-github-api-version": API_VERSION,
            "x-initiator": "user",
            "openai-intent": "conversation-panel",
            "x-request-id": str(uuid.uuid4()),
        }
        if extras.integration:
            headers["copilot-integration-id"] = extras.integration
        if extras.editor:
            headers["editor-version"] = headers["editor-plugin-version"] = self._user_agent
        return headers

    def add_integration(self, sent: Extras) -> bool:
        """Send an integration id from now on; False when it was sent and did not help."""
        if sent.integration is not None:
            return False
        self._needs_integration = True
        return True

    def add_editor(self, sent: Extras) -> bool:
        """Name an editor's version, ours, from now on; False when it was sent and did not help."""
        if sent.editor:
            return False
        self._needs_editor = True
        return True
