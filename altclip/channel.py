"""How a client reaches the service: the documented channel configuration, credentials, metadata of a call.

`service_config()` and `CHANNEL_OPTIONS` are plain gRPC, the same in every language: copy them into other
clients.

- Retries. UNAVAILABLE and RESOURCE_EXHAUSTED are tried up to five times with growing pauses; a server's
  `grpc-retry-pushback-ms` replaces the pause, and a full queue always comes with it. So is CANCELLED: with it
  gRPC's core ends a call that reaches a server in the moment when it closes its connections, before any
  handler sees it. What the caller itself cancels is not tried again. A message over the size
  limit is refused without it, and must not be sent again: the retry buffer is as large as the server's
  default limit (36 MiB), and gRPC does not retry what does not fit there. Where an operator set a lower
  limit, the tries are still bounded.
- Throttling. When more than about a tenth of the calls fail, retries stop until calls succeed again: they
  would add load.
- Balancing. All addresses of a DNS name, and all of a list, share the calls in turn (`round_robin`): use a
  headless Service in Kubernetes. An address that does not answer is left out until it does. A stream stays
  on the server where it began.
- `wait_for_ready` stays off: a wrong address is told after a few seconds of retries, not at the deadline. To
  wait for a server that is still loading, call `wait_until_ready` first.
- Keepalive. A connection with calls in flight is pinged after 15 seconds in which nothing came, and given up
  when the answer takes 10 more: the calls to a server that hangs, or to a machine that is gone, are tried on
  another one while there is time. An idle connection is not pinged.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from altclip.errors import InvalidArgument

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from altclip.tracing.spans import Tracing

DEFAULT_TIMEOUT = 60.0
"""Seconds that a call may take unless told otherwise, retries and parts included. A stream has no limit.

>>> Client("localhost:50051", timeout=DEFAULT_TIMEOUT / 2).health()
'SERVING'
"""

SERVER_MESSAGE_BYTES = 36 << 20
"""The largest message that a server takes by default."""

MAX_ANSWER_BYTES = 64 << 20
"""The largest message that this client takes."""

NO_LIMIT_SECONDS = 1e9
"""A longer timeout means no limit: 31 years. gRPC takes much longer ones for times in the past."""

LONGEST_KEY = 8000
"""Characters of an API key. A gRPC server refuses calls with more than 8 KiB of metadata now and then, and
with more than 16 KiB always."""

LONGEST_REQUEST_ID = 128
"""Characters of a request id; the server puts an id of its own in place of a longer one."""

SERVICES = ("altclip.v1.EmbeddingService", "altclip.v1.ModelService")

ChannelOption = tuple[str, str | int]


def service_config() -> dict[str, object]:
    """The service config for this API, as a JSON object; a new one with every call, so it may be changed.

    >>> service_config()["loadBalancingConfig"]
    [{'round_robin': {}}]
    """
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": service} for service in SERVICES],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "3s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    }


CHANNEL_OPTIONS: tuple[ChannelOption, ...] = (
    ("grpc.service_config", json.dumps(service_config())),
    ("grpc.enable_retries", 1),
    ("grpc.per_rpc_retry_buffer_size", SERVER_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),  # the server decides, and its refusal names the limit
    # A server of this service takes a ping every 10 s at most.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # In place of the one above, a newer gRPC core waits so long for the answer; by default for a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # A server that was restarted is found again at once, and new addresses of a name within seconds.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ("grpc.primary_user_agent", "altclip-python"),
)
"""The documented client configuration; pass it to `grpc.insecure_channel` or `grpc.secure_channel`.

>>> stub = EmbeddingServiceStub(grpc.insecure_channel("localhost:50051", CHANNEL_OPTIONS))
>>> stub.EmbedText(EmbedTextRequest(texts=["a cat"])).embeddings.count
1
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is, and how this client presents itself.

    Attributes:
        address: `host:port`, or any target of gRPC.
        api_key: Sent as a bearer token; None for none.
        credentials: For TLS; None for a plain connection.
        timeout: Seconds that a call may take where it does not say.
        options: Channel options in place of those of the same name in `CHANNEL_OPTIONS`.
        tracing: Makes the spans of its calls; None where they are not traced.
    """

    address: str
    api_key: str | None = field(default=None, repr=False)
    credentials: grpc.ChannelCredentials | None = None
    timeout: float = DEFAULT_TIMEOUT
    options: tuple[ChannelOption, ...] = ()
    tracing: Tracing | None = None

    def channel_options(self) -> list[ChannelOption]:
        """The documented options and this client's own."""
        return list({**dict(CHANNEL_OPTIONS), **dict(self.options)}.items())

    def metadata(self, request_id: str, span: Span | None = None) -> tuple[tuple[str, str], ...]:
        """The metadata of one call. span: of a traced call, where it is not the current one."""
        key = (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()
        context = self.tracing.headers(span) if self.tracing is not None else ()
        return (("x-request-id", request_id), *key, *context)

    def seconds(self, timeout: float | None) -> float:
        """Seconds that a call may take: `timeout`, or the client's own for None. Infinite means no limit.

        Raises InvalidArgument.
        """
        return self.timeout if timeout is None else seconds_of(timeout)


def endpoint(
    address: str | Sequence[str],
    api_key: str | None,
    tls: bool,
    root_certificates: bytes | Path | None,
    credentials: grpc.ChannelCredentials | None,
    timeout: float,
    options: Iterable[ChannelOption],
    tracing: bool,
) -> Endpoint:
    """The arguments of a client, checked. Raises InvalidArgument, OSError for a file of certificates, and
    ClientUnusable for tracing without OpenTelemetry."""
    return Endpoint(
        address=address_of(address),
        api_key=key_of(api_key),
        credentials=credentials or channel_credentials(tls, root_certificates),
        timeout=seconds_of(timeout),
        options=tuple(options),
        tracing=_tracing(address_of(address)) if tracing else None,
    )


def _tracing(address: str) -> Tracing:
    from altclip.tracing.spans import Tracing  # loads OpenTelemetry

    return Tracing(address)


def address_of(given: object) -> str:
    """A target of gRPC, without the white space around it; one for all addresses of a list. Raises
    InvalidArgument."""
    if isinstance(given, list | tuple):
        return _target_of_all(given)
    if not isinstance(given, str) or not given.strip():
        raise InvalidArgument.at("address", "give host:port, such as localhost:50051")
    if re.match(r"\s*(https?|grpcs?)://", given, re.IGNORECASE):
        raise InvalidArgument.at(
            "address", "give host:port without a scheme such as http://; TLS is `tls=True`"
        )
    if "," in given and not re.match(r"\s*(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):", given):
        raise InvalidArgument.at("address", 'several addresses are a list, such as ["10.0.0.7:50051", …]')
    return given.strip()


def _target_of_all(addresses: Sequence[object]) -> str:
    """gRPC's target for several addresses, which it takes as numbers only."""
    if not addresses:
        raise InvalidArgument.at("address", "the list has no address")
    versions, found = set(), []
    for index, given in enumerate(addresses):
        text = given.strip() if isinstance(given, str) else ""
        host, _, port = text.rpartition(":")
        try:
            versions.add(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version)
            found.append(f"{host}:{int(port)}")
        except ValueError:
            what = f"a list holds IP addresses with their port, such as 10.0.0.7:50051, not {given!r:.60}"
            raise InvalidArgument.at(f"address[{index}]", f"{what}; a name is dns:///NAME:PORT") from None
    if len(versions) > 1:
        raise InvalidArgument.at("address", "a list holds IPv4 addresses or IPv6 addresses, not both")
    return f"ipv{versions.pop()}:{','.join(found)}"


def key_of(given: object) -> str | None:
    """An API key without the white space around it; None for an empty one. Raises InvalidArgument, whose
    message never has the key in it."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise InvalidArgument.at("api_key", f"a key is a str, not {type(given).__name__}")
    key = given.strip()
    if len(key) > LONGEST_KEY:
        raise InvalidArgument.at("api_key", f"the key has {len(key):,} characters, more than {LONGEST_KEY:,}")
    for place, character in enumerate(key):
        if not " " <= character <= "~":
            kind = "a line break" if character in "\r\n" else "a character that is not printable ASCII"
            raise InvalidArgument.at("api_key", f"the key has {kind} at position {place}; is it one key?")
    return key or None


def request_id_of(given: object) -> str:
    """A call's id: the caller's, or a new one. Raises InvalidArgument."""
    if given is None or given == "":
        return new_request_id()
    if not isinstance(given, str):
        raise InvalidArgument.at("request_id", f"an id is a str, not {type(given).__name__}")
    if len(given) > LONGEST_REQUEST_ID or not all(" " < character <= "~" for character in given):
        raise InvalidArgument.at(
            "request_id",
            f"an id has at most {LONGEST_REQUEST_ID} characters of printable ASCII, and no spaces",
        )
    return given


def seconds_of(given: Any) -> float:
    """A timeout in seconds; infinite where it is as good as none. Raises InvalidArgument for no time."""
    try:
        seconds = math.nan if isinstance(given, str | bytes) else float(given)
    except OverflowError:
        seconds = math.inf
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidArgument.at("timeout", f"give seconds as a number, not {given!r:.60}")
    return math.inf if seconds >= NO_LIMIT_SECONDS else seconds


def channel_credentials(
    tls: bool,
    root_certificates: object,
    own_certificate: tuple[bytes, bytes] | None = None,
) -> grpc.ChannelCredentials | None:
    """Credentials for TLS, or None for a plain connection. All is PEM.

    `root_certificates` replace the system's; `own_certificate` and its key are shown to a server that asks.
    """
    if not isinstance(root_certificates, bytes | Path | None):
        kind = type(root_certificates).__name__
        raise InvalidArgument.at("root_certificates", f"give bytes of PEM or a pathlib.Path, not {kind}")
    pem = root_certificates.read_bytes() if isinstance(root_certificates, Path) else root_certificates
    if pem is not None and b"-----BEGIN" not in pem:
        raise InvalidArgument.at("root_certificates", "there is no PEM certificate in it")
    if pem is None and own_certificate is None:
        return grpc.ssl_channel_credentials() if tls else None
    certificate, key = own_certificate or (None, None)
    return grpc.ssl_channel_credentials(pem, private_key=key, certificate_chain=certificate)


def new_request_id() -> str:
    """A request id that no other call has."""
    return uuid.uuid4().hex


def health_service(model: str) -> str:
    """The name that the health service knows a model by; all models together where none is named."""
    return f"{SERVICES[0]}/{model}" if model else SERVICES[0]


def grpc_timeout(seconds: float) -> float | None:
    """Seconds as gRPC takes them: None for no limit, and never a negative time."""
    return None if seconds >= NO_LIMIT_SECONDS else max(0.0, seconds)
