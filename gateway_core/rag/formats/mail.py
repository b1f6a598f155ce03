"""Saved e-mails: decoded headers, then the body."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from . import html
from .parsed import Parsed, Unreadable

_HEADERS = ("From", "To", "Cc", "Date", "Subject")


def read(data: bytes, parsed: Parsed) -> None:
    message = BytesParser(policy=policy.default).parsebytes(data)
    if not isinstance(message, EmailMessage) or not any(message[header] for header in _HEADERS):
        raise Unreadable("is not an e-mail: it has no headers", "Save the mail again as EML, or give its text.")
    for header in _HEADERS:
        if message[header]:
            parsed.add(f"{header}: {' '.join(str(message[header]).split())}\n")
    parsed.add("\n")
    body = message.get_body(("plain", "html"))
    if body is not None:
        try:
            text = str(body.get_content())
        except (LookupError, UnicodeError):  # an encoding that nobody knows
            payload = body.get_payload(decode=True)
            text = payload.decode("latin-1") if isinstance(payload, bytes) else ""
        if body.get_content_type() == "text/html":
            html.read(text, parsed)
        else:
            parsed.add(text.replace("\r\n", "\n"))
    names = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    if names:
        parsed.warnings.append(f"attachments not read: {', '.join(names[:10])}")
