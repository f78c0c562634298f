"""Certificates for tests: self-signed, so that each is its own authority. Made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Pair", "make_pair"]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    chain: bytes
    key: bytes

    def put(self, folder: Path) -> tuple[Path, Path]:
        """Both as files, each replaced at once."""
        paths = folder / "chain.pem", folder / "key.pem"
        for path, content in zip(paths, (self.chain, self.key), strict=True):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.rename(path)
        return paths


def make_pair(folder: Path, name: str) -> Pair:
    """For loopback, valid for a day. Skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    chain, key = folder / f"{name}-chain.pem", folder / f"{name}-key.pem"
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    files = ("-keyout", str(key), "-out", str(chain))
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "1", *files, *subject]
    subprocess.run(command, check=True, capture_output=True)
    return Pair(chain.read_bytes(), key.read_bytes())
