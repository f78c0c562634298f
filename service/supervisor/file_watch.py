"""The operator's files: keys and certificates, read at the start and again whenever they change.

A change is handed to the frontends only where the new content can be used (`reloading.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from service.config import keys
from service.config.certificates import Certificate
from service.config.operator_files import API_KEYS, TLS
from service.config.options import OptionError
from service.config.settings import Settings
from service.supervisor.reloading import Reloading
from worker.runtime.metrics import Metrics

__all__ = ["OperatorFiles", "checked_keys"]


class OperatorFiles:
    """What the files hold now, by name."""

    def __init__(self, settings: Settings) -> None:
        """Raises OptionError: at the start every file must be good."""
        self.content: dict[str, bytes] = {}
        self._watched: dict[str, Reloading[bytes]] = {}
        lines = settings.api_key_lines
        if settings.api_keys:
            paths = [settings.api_keys]
            self._watch(API_KEYS, "--api-keys", paths, lambda parts: checked_keys(parts[0], lines))
        elif lines:
            self.content[API_KEYS] = lines.encode()
        certificate = [settings.tls_certificate, settings.tls_key]
        if all(certificate):
            paths = [*certificate, *([settings.tls_client_ca] if settings.tls_client_ca else [])]
            self._watch(TLS, "--tls-certificate", paths, lambda parts: Certificate.read(parts).to_bytes())
        elif any(certificate) or settings.tls_client_ca:
            raise OptionError("--tls-certificate and --tls-key are needed together, also for --tls-client-ca")

    def _watch(
        self, name: str, option: str, paths: Sequence[str], load: Callable[[Sequence[bytes]], bytes]
    ) -> None:
        try:
            file = Reloading(name, list(map(Path, paths)), load)
        except OSError as error:
            raise OptionError(f"{option}: {error.filename} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise OptionError(f"{option}: {' '.join(paths)}: {error}") from None
        self.content[name] = file.value
        self._watched[name] = file

    def api_keys(self) -> tuple[keys.Key, ...]:
        """The API keys; none where callers need none."""
        return keys.parse(self.content[API_KEYS].decode()) if API_KEYS in self.content else ()

    def reread(self) -> None:
        """Read every file again now, changed or not; the log tells of each."""
        for file in self._watched.values():
            file.reread()

    async def watch(self, metrics: Metrics, tell: Callable[[str, bytes], None]) -> None:
        """Until cancelled. tell: called with the name and the content of each file that changed."""

        def tell_expiry() -> None:
            if TLS in self.content:
                metrics.certificate_expiry.set(Certificate.from_bytes(self.content[TLS]).expires())

        async def one(name: str, file: Reloading[bytes]) -> None:
            def changed(content: bytes) -> None:
                self.content[name] = content
                tell_expiry()
                tell(name, content)

            await file.watch(metrics, changed)

        tell_expiry()
        await asyncio.gather(*(one(name, file) for name, file in self._watched.items()))


def checked_keys(content: bytes, lines: str) -> bytes:
    """The lines of the file and of the settings together. Raises ValueError.

    Each must hold a key: an empty file may be half written, and takes no key away.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    keys.parse(text)
    if lines:
        text += "\n" + lines
        keys.parse(text)
    return text.encode()
