"""The first half of the settings: what is served and where, who may call, encryption, HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from service.config import readers
from service.config.options import option

__all__ = ["MOST_BYTES", "MOST_COUNT", "ServingSettings"]

_DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")

# Far beyond any use, and within what holds them: callers are told limits in 32 bits, and a decoder has
# room for the largest image.
MOST_COUNT = 1_000_000
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSettings:
    """Texts have been read and checked one by one; what must fit together is checked at the start."""

    model: tuple[str, ...] = option(
        (),
        readers.model,
        "a model to serve, NAME or NAME=SOURCE; repeat for several. SOURCE is a directory, a hub name "
        "such as BAAI/AltCLIP (@REVISION pins it), or `bundled`; without any, the bundled model",
        metavar="NAME[=SOURCE]",
        repeat=True,
        quoted=True,
        opens="What is served, and where",
    )
    alias: tuple[str, ...] = option(
        (),
        readers.alias,
        "another name for a served model, for gRPC and HTTP; answers carry the model's own name. Repeat for "
        "several",
        metavar="ALIAS=MODEL",
        repeat=True,
        quoted=True,
    )
    grpc_address: str = option(
        "0.0.0.0:50051", readers.address, "where gRPC listens; port 0 picks a free one"
    )
    http_address: str = option(
        "0.0.0.0:8080",
        readers.address_or_off,
        "where HTTP listens; `off` opens no port",
        metavar="HOST:PORT|off",
    )
    ops_address: str = option("0.0.0.0:9464", readers.address, "where /metrics, /livez and /readyz listen")
    device: tuple[str, ...] = option(
        ("auto",),
        readers.devices,
        "auto (the first CUDA device, or else cpu), cpu, cuda or cuda:N; repeat for a worker on each",
        metavar="DEVICE",
        repeat=True,
    )
    dtype: str = option(
        "auto",
        readers.choice(*_DTYPES),
        "what the weights run in; auto is float32 on a CPU, bfloat16 on CUDA (float16 before Ampere); int8, "
        "on a CPU only, trades a little accuracy for speed",
    )

    api_keys: str = option(
        "",
        readers.key_file,
        "a file of API keys, one line each as `altclip-server key NAME` prints it, read again when it "
        "changes; without keys everyone may call",
        metavar="FILE",
        opens="Who may call",
    )
    api_key_lines: str = option(
        "",
        readers.key_lines,
        "such lines themselves, separated by semicolons or line ends, beside those of the file",
        metavar="LINES",
    )

    tls_certificate: str = option(
        "",
        readers.path,
        "a PEM file with the server's certificate and those that lead to its authority; read again when it "
        "changes. Without it nothing is encrypted",
        metavar="FILE",
        opens="Encryption",
    )
    tls_key: str = option("", readers.path, "a PEM file with the certificate's key", metavar="FILE")
    tls_client_ca: str = option(
        "",
        readers.path,
        "a PEM file with authorities: only clients with a certificate of theirs may connect (mutual TLS)",
        metavar="FILE",
    )

    http_apis: tuple[str, ...] = option(
        readers.HTTP_APIS,
        readers.apis,
        "the APIs of other products that HTTP offers, separated by commas",
        metavar="API",
        repeat=True,
        opens="HTTP",
    )
    http_hosts: tuple[str, ...] = option(
        (),
        readers.host_names,
        "the names by which HTTP may be asked for, such as altclip or *.example.com; a request for another "
        "name is refused with 421. Addresses are always allowed; without any, every name is",
        metavar="NAME",
        repeat=True,
    )
    http_prefix: str = option(
        "", readers.prefix, "the path under which a reverse proxy offers HTTP", metavar="/PATH"
    )
    http_cors_origins: tuple[str, ...] = option(
        (),
        readers.origins,
        "origins whose web pages may call over HTTP (CORS), such as https://app.example.com; * is every one",
        metavar="ORIGIN",
        repeat=True,
    )
    http_max_items: int = option(
        2048, readers.integer(1, MOST_COUNT), "the most texts in an HTTP request, in place of max-texts"
    )
    http_max_body_bytes: int = option(
        64 << 20, readers.size(1 << 10, MOST_BYTES), "the size of the body of an HTTP request"
    )
    immich_upstream: str = option(
        "",
        readers.url,
        "an immich machine learning server that gets the tasks that are none of ours (faces, text in images)",
        metavar="URL",
    )

    @property
    def wants_keys(self) -> bool:
        """Whether callers have to show a key."""
        return bool(self.api_keys or self.api_key_lines)

    def aliases(self) -> dict[str, str]:
        """Each alias and the name of its model."""
        return dict(map(readers.split_alias, self.alias))
