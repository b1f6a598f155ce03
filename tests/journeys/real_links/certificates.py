"""A certificate authority of the test's own, and certificates by it and by nobody."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """Writes everything into one folder; `bundle` is what a system that trusts it has in its store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bundle = folder / "authority.pem"
        _openssl(
            "req", "-x509", *_KEY, "-subj", "/CN=Own authority of a test", "-keyout", str(folder / "authority.key"),
            "-out", str(self.bundle), "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, *names: str) -> Path:
        """Key and certificate for these names, in one file."""
        return self._made(names, "-CA", str(self.bundle), "-CAkey", str(self._folder / "authority.key"))

    def self_signed(self, *names: str) -> Path:
        return self._made(names)

    def _made(self, names: tuple[str, ...], *signed: str) -> Path:
        stem = f"{'issued' if signed else 'alone'}-{names[0]}"
        key, certificate = self._folder / f"{stem}.key", self._folder / f"{stem}.crt"
        _openssl(
            "req", "-x509", *_KEY, "-subj", f"/CN={names[0]}", "-keyout", str(key), "-out", str(certificate),
            "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
            "-addext", "basicConstraints=critical,CA:FALSE", *signed,
        )  # fmt: skip
        both = self._folder / f"{stem}.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        return both


def server_context(certificate: Path) -> ssl.SSLContext:
    """For a server; another certificate may be loaded into it later, for the next connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _openssl(*arguments: str) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True, text=True, timeout=30)
