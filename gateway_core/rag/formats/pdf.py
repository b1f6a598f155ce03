"""PDF through pypdf, page by page."""

from __future__ import annotations

import io

from .parsed import Parsed, Unreadable

FEWEST_CHARS_A_PAGE = 20


def read(data: bytes, parsed: Parsed) -> None:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise FileNotDecryptedError("password")
        pages = reader.pages
        count = len(pages)
        for number in range(count):
            parsed.at(f"p. {number + 1}")
            text = pages[number].extract_text().strip()
            if text:
                parsed.add(text + "\n\n")
    except (FileNotDecryptedError, DependencyError):
        raise Unreadable("is protected by a password", "Save a copy without password and give that.") from None
    except (PyPdfError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, AssertionError) as error:
        if parsed.length:
            parsed.warnings.append(f"damaged: read only as far as {parsed.places[-1][1]}")
            return
        raise Unreadable(f"is a damaged PDF ({type(error).__name__})", "Download or export it again.") from None
    if not count:
        raise Unreadable("is a PDF without pages", "Download or export it again.")
    if parsed.length < FEWEST_CHARS_A_PAGE * count:
        raise Unreadable(
            f"has no text layer ({count} scanned pages)", "OCR is not built in: run an OCR program over it first."
        )
