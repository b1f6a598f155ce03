"""Keys and tokens: held so that they cannot slip out, written so that nobody else can read them.

A `Secret` shows itself to nobody and refuses to be pickled. Every value that was ever one is also struck out, by
value, of what passes a handler guarded with `RedactingFilter`, whoever logs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets as entropy
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

STRUCK_OUT = "[secret]"
SHORTEST = 8  # a shorter value would strike out innocent words

_known: set[str] = set()
_known_lock = threading.Lock()


class _Sealed(Protocol):
    def get_secret_value(self) -> str: ...


class Secret:
    """A key or token. `reveal()` is called where it is sent, and nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= SHORTEST:
            with _known_lock:
                _known.add(value)

    @classmethod
    def of(cls, sealed: _Sealed | str | None) -> Secret | None:
        """From a settings field; `None` for nothing, or for nothing but spaces."""
        if sealed is None:
            return None
        value = (sealed if isinstance(sealed, str) else sealed.get_secret_value()).strip()
        return cls(value) if value else None

    def reveal(self) -> str:
        return self._value

    @property
    def can_be_sent(self) -> bool:
        """False for what no HTTP header can carry (a line end, an umlaut): a slip of copy and paste."""
        return all("\x20" < letter < "\x7f" for letter in self._value)

    @property
    def hint(self) -> str:
        """Enough to tell one's own tokens apart: the prefix that names the kind, and the last four."""
        prefix = self._value[: self._value.find("_") + 1] if "_" in self._value[:12] else ""
        return f"{prefix}…{self._value[-4:]}" if len(self._value) >= 20 else "…"

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")


def redact(text: str) -> str:
    """`text` without any value that was ever a secret of this process."""
    with _known_lock:
        values = sorted((value for value in _known if value in text), key=len, reverse=True)
    for value in values:
        text = text.replace(value, STRUCK_OUT)
    return text


class RedactingFilter(logging.Filter):
    """For a handler: strikes secrets out of the message, its arguments and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        # A call whose arguments do not fit its words keeps the words alone: the arguments are what nobody has read.
        record.msg, record.args = _shown(record.getMessage, lambda: record.msg), None
        said, raised = record.exc_text, record.exc_info
        if said or raised:
            record.exc_text = _shown(lambda: said or logging.Formatter().formatException(raised))  # type: ignore[arg-type]
            record.exc_info = None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def _shown(*ways: Callable[[], object]) -> str:
    """What the first of `ways` that works gives, without secrets. Never raises: whoever logs is not to pay for it."""
    for way in ways:
        with contextlib.suppress(Exception):
            return redact(str(way()))
    return "[cannot be shown]"


# Files of our own


def private_folder(path: Path) -> Path:
    """`path`, made if need be; nobody else may look into it, unless it is more than ours."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_ours_alone(path):
        _repair(path, 0o700)
    return path


def _is_ours_alone(folder: Path) -> bool:
    """A home, a working folder, or a shared one such as /tmp is not ours to close, though a user may name it."""
    if folder.stat().st_mode & stat.S_ISVTX:
        return False
    shared = set[Path]()
    for find in (Path.home, Path.cwd):
        with contextlib.suppress(OSError, RuntimeError):  # there may be none
            own = find().resolve()
            shared |= {own, *own.parents}
    return folder.resolve() not in shared


def write_private(path: Path, content: bytes) -> None:
    """Replace a file of ours in one step: whole or not at all, readable by its owner only."""
    folder = private_folder(path.parent)
    # mkstemp opens with O_EXCL and 0600, and follows no link
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def read_private(path: Path) -> bytes | None:
    """A file of ours, or `None`. One that others could read is repaired first."""
    try:
        _repair(path, 0o600)
        return path.read_bytes()
    except OSError:
        return None


def _repair(path: Path, mode: int) -> None:
    if os.name == "nt":
        return  # the profile folder is private by its access list
    found = path.lstat()
    linked = stat.S_ISLNK(found.st_mode)  # what it leads to may be another program's
    if found.st_mode & 0o077 and found.st_uid == os.geteuid() and not linked:
        path.chmod(mode)


# Names for accounts


def account_salt(store: str, state_dir: Path) -> bytes:
    """What the fingerprints of accounts are salted with.

    Machines that share their circuits in a server (`store` is its address) must give an account the same name: there
    the address's password is all that they have in common.
    """
    if "://" not in store:
        return state_salt(state_dir)
    return hashlib.sha256(f"ai-gateway {urlsplit(store).password or ''}".encode()).digest()


def state_salt(state_dir: Path) -> bytes:
    """The salt of this user's fingerprints; made at the first need. Without a place to keep it: for this process."""
    path = state_dir / "salt"
    found = read_private(path)
    if found and len(found) == 32:
        return found
    made = entropy.token_bytes(32)
    try:
        private_folder(state_dir)
        # Two processes may start at once: the one that links first wins, and both read the same.
        handle, name = tempfile.mkstemp(prefix=".salt.", dir=state_dir)
        with os.fdopen(handle, "wb") as file:
            file.write(made)
        try:
            if found is None:
                os.link(name, path)
                os.unlink(name)
            else:  # damaged
                os.replace(name, path)
        except FileExistsError:
            os.unlink(name)
    except OSError:
        return _process_salt
    return read_private(path) or made


_process_salt = entropy.token_bytes(32)


def identity_of(backend: str, url: str, secret: Secret | None, salt: bytes) -> str | None:
    """The account behind a tier, as a name that tells nothing: for keeping circuits apart. `None` without a key."""
    if secret is None:
        return None
    return f"{backend}|{origin_of(url)}|{fingerprint(secret, salt)}"


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def fingerprint(secret: Secret, salt: bytes) -> str:
    return hmac.new(salt, secret.reveal().encode(), hashlib.sha256).hexdigest()[:16]
