"""ZIP containers and the XML in them, with everything counted while it is read.

Headers may lie, so sizes are checked twice: as announced, and as they come. A document type declaration is refused:
no office format has one, and it is what entity bombs are made of.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Literal
from xml.parsers import expat

from ..guard import LoadLimits
from .parsed import Unreadable

CHUNK = 65_536
BOMB = "unpacks to far more than its size (a zip bomb?)"
Step = tuple[Literal["start", "end", "text"], str, dict[str, str]]


class Container:
    """A ZIP file whose members can be read within limits that hold for all of them together."""

    def __init__(self, data: bytes, limits: LoadLimits) -> None:
        self._limits = limits
        self._read = 0
        # Every entry has a header of 46 bytes in the directory: count them before anything is built from them.
        if data.count(b"PK\x01\x02") > limits.entries:
            raise Unreadable(f"holds more than {limits.entries:,} files", "Give the files you need one by one.")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
            raise Unreadable("is damaged or cut off", "Download or copy it again.") from None
        members = self._zip.infolist()
        announced = sum(member.file_size for member in members)
        if announced > limits.unpacked_bytes or (
            announced > CHUNK * 16 and announced > limits.unpacked_ratio * len(data)
        ):
            raise Unreadable(BOMB, "Give the text itself.")
        if any(member.flag_bits & 1 for member in members):
            raise Unreadable("is protected by a password", "Save a copy without password and give that.")
        self.names = [member.filename for member in members]

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as member:
                while chunk := member.read(CHUNK):
                    self._read += len(chunk)
                    if self._read > self._limits.unpacked_bytes:
                        raise Unreadable(BOMB, "Give the text itself.")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
            raise Unreadable("is damaged or cut off", "Download or copy it again.") from None
        except KeyError:
            raise Unreadable(f"lacks {name}, which its format needs", "Save it again with an office program.") from None

    def xml(self, name: str) -> Iterator[Step]:
        """The elements of a member in document order, by their local names; attributes without namespaces."""
        steps: list[Step] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True

        def refuse(*_: object) -> None:
            raise Unreadable("declares XML entities, which office files never do", "Save it again or give the text.")

        parser.StartDoctypeDeclHandler = refuse
        parser.EntityDeclHandler = refuse
        parser.StartElementHandler = lambda tag, attributes: steps.append(
            ("start", _local(tag), {_local(key): value for key, value in attributes.items()})
        )
        parser.EndElementHandler = lambda tag: steps.append(("end", _local(tag), {}))
        parser.CharacterDataHandler = lambda text: steps.append(("text", text, {}))
        try:
            for chunk in self.chunks(name):
                parser.Parse(chunk, False)
                yield from steps
                steps.clear()
            parser.Parse(b"", True)
        except expat.ExpatError:
            raise Unreadable("is damaged (broken XML)", "Save it again with an office program.") from None
        yield from steps


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]
