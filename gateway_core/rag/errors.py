"""What can be wrong with a document that was handed in."""

from __future__ import annotations

from ..errors import PromptRefused
from ..types import Reason


class DocumentUnreadable(PromptRefused):
    """A file that no text could be got from. The other files of the same upload are not touched by it.

    `name` is the file, `fault` what is wrong with it ("is protected by a password"), `cure` what to do about it.
    """

    reason = Reason.INVALID_REQUEST

    def __init__(self, name: str, fault: str, cure: str = "") -> None:
        super().__init__(f"{name}: {fault}", field="documents", cure=cure)
        self.name = name
        self.fault = fault
