"""The version of both distributions, and whether those of a client and a server fit. Imports nothing.

The build reads VERSION from here without running this file: keep it a plain string.
"""

from __future__ import annotations

__all__ = ["VERSION", "mismatch"]

VERSION = "0.2.0"


def mismatch(server: str, client: str = VERSION) -> str:
    """Why these two versions do not fit, or "" where they do.

    They fit where Semantic Versioning promises it: with the same major version and, before 1.0, with the same
    minor version. A server that tells no version is older than 0.2.
    """
    if _promise(server) == _promise(client):
        return ""
    told = f"is version {server}" if server else "tells no version (it is older than 0.2)"
    return f"the server {told}, the client {client}: some calls may fail, install the same version of both"


def _promise(version: str) -> tuple[str, ...]:
    major, _, rest = version.partition(".")
    return (major, rest.partition(".")[0]) if major == "0" else (major,)
