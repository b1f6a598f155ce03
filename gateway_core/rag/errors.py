"""What can be wrong with a document that was handed in."""

from __future__ import annotations

from ..errors import GatewayError


class DocumentUnreadable(GatewayError):
    """A file that no text could be got from. The other files of the same upload are not touched by it.

    `name` is the file, `fault` what is wrong with it ("is protected by a password"), `cure` what to do about it.
    """

    def __init__(self, name: str, fault: str, cure: str = "") -> None:
        super().__init__(f"{name} {fault}. {cure}".rstrip())
        self.name = name
        self.fault = fault
        self.cure = cure
