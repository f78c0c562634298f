"""What protects people whose browser reaches this server: host names and origins. Pure.

Host      an address, localhost or a name of --http-hosts; another may be a name that a stranger's page
          was rebound to this server (DNS rebinding)
Origin    one of --http-cors-origins, whose pages may read our answers; by default none
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

__all__ = ["cors_headers", "host_name", "is_address"]

Headers = Sequence[tuple[str, str]]

EXPOSED = "x-request-id, retry-after, retry-after-ms, x-should-retry"
PREFLIGHT_SECONDS = 600


def host_name(host: str) -> str:
    """Of a Host header: without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    """Whether no name server had a say in it. Browsers resolve localhost and what is below it themselves."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def cors_headers(origin: str, allowed: Sequence[str], *, wanted_headers: str | None = None) -> Headers:
    """What lets a page of this origin read the answer; nothing where it may not.

    wanted_headers: of a preflight, which asks before the request itself; None for all other requests.
    """
    if not origin or not ("*" in allowed or origin in allowed):
        return ()
    headers = [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", EXPOSED),
        ("vary", "origin"),
    ]
    if wanted_headers is not None:
        headers += [
            ("access-control-allow-methods", "GET, HEAD, POST"),
            ("access-control-allow-headers", wanted_headers or "authorization, content-type"),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        ]
    return headers
