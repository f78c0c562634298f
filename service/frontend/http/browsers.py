"""What protects people whose browser reaches this server: host names and origins. Pure.

Host      an address, localhost or a name of --http-hosts; another may be a name that a stranger's page
          was rebound to this server (DNS rebinding)
Origin    one of --http-cors-origins, whose pages may read our answers; by default none
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from service.config.readers import names_host
from service.frontend.http import request
from service.frontend.http.errors import BadHttp, Misdirected

__all__ = ["cors_headers", "known_host"]

Headers = Sequence[tuple[str, str]]

EXPOSED = "x-request-id, retry-after, retry-after-ms, x-should-retry"
PREFLIGHT_SECONDS = 600


def known_host(headers: request.Headers, version: str, allowed: Sequence[str], *, keyless: bool) -> bool:
    """Whether a request asks for an address or for one of these names.

    version: of HTTP; in 1.0 a request may lack a Host, as probes of load balancers do and browsers do not.
    keyless: the route needs no key. Raises Misdirected for another name than those, BadHttp for none or two.
    """
    given = headers.get("host", ())
    if not given and version == "1.0":
        if allowed and not keyless:
            raise Misdirected
        return True
    if len(given) != 1:
        raise BadHttp("A request has exactly one Host header.")
    name = host_name(given[0])
    known = is_address(name) or names_host(name, allowed)
    if allowed and not known:
        raise Misdirected
    return known


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
