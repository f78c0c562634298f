"""All settings: one frozen class. Imports the standard library, and the torch-free names of `worker`.

A field's metadata holds its help, how its text is read and what is accepted. From it come the command line
(`--max-texts 64`), the environment (`ALTCLIP_MAX_TEXTS=64`; the command line wins), `--help`, and the table
in the README: `python -m service.settings` prints that.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.config import options
from service.config.options import option
from worker.runtime import logs

__all__ = ["Settings", "SettingsError", "markdown_table", "parser"]

SettingsError = options.OptionError

_DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")

# Far beyond any use, and within what holds them: callers are told limits in 32 bits, and a decoder has
# room for the largest image.
_MOST_COUNT = 1_000_000
_MOST_BYTES = 1 << 30
_MOST_MEMORY = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Sizes are in bytes, times in seconds, unless the help says otherwise."""

    # What is served, and where
    model: tuple[str, ...] = option(
        (),
        options.words,
        "a model to serve, NAME or NAME=SOURCE; repeat for several. SOURCE is a directory, a hub name "
        "such as BAAI/AltCLIP (@REVISION pins it), or `bundled`; without any, the bundled model",
        metavar="NAME[=SOURCE]",
        repeat=True,
    )
    grpc_address: str = option(
        "0.0.0.0:50051", options.address, "where gRPC listens; port 0 picks a free one"
    )
    http_address: str = option(
        "0.0.0.0:8080", options.address, "where HTTP will listen (there is no HTTP gateway yet)"
    )
    ops_address: str = option("0.0.0.0:9464", options.address, "where /metrics, /livez and /readyz listen")
    device: tuple[str, ...] = option(
        ("auto",),
        options.devices,
        "auto (the first CUDA device, or else cpu), cpu, cuda or cuda:N; repeat for a worker on each",
        metavar="DEVICE",
        repeat=True,
    )
    dtype: str = option(
        "auto",
        options.choice(*_DTYPES),
        "what the weights run in; auto is float32 on a CPU, bfloat16 on CUDA; int8, on a CPU only, trades a "
        "little accuracy for speed",
    )

    # Who may call
    api_keys: str = option(
        "",
        options.key_file,
        "a file of API keys, one line each as `altclip-server key NAME` prints it, read again when it "
        "changes; without keys everyone may call",
        metavar="FILE",
    )
    api_key_lines: str = option(
        "",
        options.key_lines,
        "such lines themselves, separated by semicolons or line ends, beside those of the file",
        metavar="LINES",
    )

    # Encryption
    tls_certificate: str = option(
        "",
        options.path,
        "a PEM file with the server's certificate and those that lead to its authority; read again when it "
        "changes. Without it gRPC is not encrypted",
        metavar="FILE",
    )
    tls_key: str = option("", options.path, "a PEM file with the certificate's key", metavar="FILE")
    tls_client_ca: str = option(
        "",
        options.path,
        "a PEM file with authorities: only clients with a certificate of theirs may connect (mutual TLS)",
        metavar="FILE",
    )

    # Processes
    frontends: int = option(1, options.integer(1, 256), "frontend processes behind the gRPC port")
    replicas: int = option(1, options.integer(1, 256), "workers per model and device")
    threads: int = option(
        0,
        options.integer(0, 4096),
        "threads of each worker on a CPU; 0 shares what the process may use between them",
    )
    preprocess_threads: int = option(
        0,
        options.integer(0, 1024),
        "threads of each frontend that tokenise and unpack data: URIs; 0 means as many as CPUs it may use",
    )
    decoders: int = option(
        0,
        options.integer(0, 1024),
        "processes of each frontend that decode images, shut in; one more takes interactive images only. "
        "0 shares the CPUs that may be used between the frontends",
    )

    # Limits of one request
    max_texts: int = option(256, options.integer(1, _MOST_COUNT), "texts in a call")
    max_images: int = option(64, options.integer(1, _MOST_COUNT), "images in a call")
    max_items: int = option(
        1024, options.integer(1, _MOST_COUNT), "queries, and candidates, of a Similarity call"
    )
    max_labels: int = option(1000, options.integer(1, _MOST_COUNT), "labels of a ClassifyImage call")
    max_templates: int = option(100, options.integer(1, _MOST_COUNT), "templates of a ClassifyImage call")
    max_prompts: int = option(64, options.integer(1, _MOST_COUNT), "texts in an EncodePrompt call")
    max_stream_items: int = option(1024, options.integer(1, _MOST_COUNT), "items in one message of a stream")
    max_text_bytes: int = option(65_536, options.size(1, _MOST_BYTES), "a text, in UTF-8")
    max_image_bytes: int = option(32 << 20, options.size(1, _MOST_BYTES), "an image, encoded")
    max_image_pixels: int = option(
        64_000_000, options.integer(1, 1_000_000_000), "width × height of an image, from its header"
    )
    max_message_bytes: int = option(
        36 << 20,
        options.size(1 << 16, (1 << 31) - 1),
        "a gRPC message, received or sent; keep it above max-image-bytes",
    )

    # Pictures behind addresses
    image_urls: tuple[str, ...] = option(
        (),
        options.origins,
        "fetch images from the internet: https, http, or with another port https:8443; without it no address "
        "is fetched. Only public addresses are ever dialled",
        metavar="SCHEME[:PORT]",
        repeat=True,
    )
    image_url_hosts: tuple[str, ...] = option(
        (),
        options.hosts,
        "fetch from these hosts only, such as images.example.com or *.example.com",
        metavar="HOST",
        repeat=True,
    )
    image_url_timeout: float = option(
        10.0, options.seconds(0.1, 300), "an image, from the first connection to its last byte"
    )
    image_url_concurrency: int = option(
        16, options.integer(1, 1024), "images that each frontend fetches at a time"
    )
    image_url_cache_bytes: int = option(
        32 << 20,
        options.size(0, _MOST_MEMORY),
        "cache of fetched images per frontend, kept for a minute; 0 turns it off",
    )

    # Queues, batches and caches
    max_wait: float = option(
        10.0,
        options.seconds(0.01, 3600),
        "calls are refused when they can expect to wait for longer than this; sooner while a queue stands",
    )
    max_queue_items: int = option(
        4096,
        options.integer(1, _MOST_COUNT),
        "items under way per model and frontend before calls are refused",
    )
    max_queue_bytes: int = option(
        512 << 20,
        options.size(1 << 20, _MOST_MEMORY),
        "texts, encoded images and pixels under way per model and frontend before calls are refused",
    )
    stream_window: int = option(
        1024,
        options.integer(1, _MOST_COUNT),
        "items of one stream under way at a time; a picture counts as four",
    )
    batch_tokens: int = option(
        0,
        options.integer(0, _MOST_COUNT),
        "tokens in a batch of texts; 0 lets the worker choose for its device",
    )
    batch_images: int = option(
        0, options.integer(0, _MOST_COUNT), "images in a batch; 0 lets the worker choose for its device"
    )
    batch_wait: float = option(
        0.0, options.seconds(0, 10), "how long an idle worker waits for company for a first item"
    )
    cache_bytes: int = option(
        0,
        options.size(0, _MOST_MEMORY),
        "cache of what was computed, per frontend, by content; a row takes 4 bytes a component and about 600 "
        "more. 0 turns it off",
    )
    label_cache_bytes: int = option(
        64 << 20, options.size(0, _MOST_MEMORY), "cache of label embeddings per frontend; 0 turns it off"
    )

    # Life and death
    grace: float = option(30.0, options.seconds(0, 86_400), "how long calls may take to end after SIGTERM")
    load_timeout: float = option(
        600.0, options.seconds(0.1, 86_400), "how long a worker may take to be ready before it is replaced"
    )
    hang_timeout: float = option(
        60.0,
        options.seconds(0.1, 86_400),
        "a worker that owes answers and makes no progress for so long is replaced; "
        "keep it well above the time of one batch",
    )
    jpeg_scaling: str = option(
        "exact",
        options.choice("exact", "fast"),
        "fast lets the JPEG decoder scale large images down as it reads them: several times as fast, "
        "embeddings within cosine 0.999 of the exact ones",
    )
    decode_timeout: float = option(
        30.0,
        options.seconds(0.1, 3600),
        "an image that takes longer to decode is refused, and its decoder replaced",
    )
    restart_backoff: float = option(
        0.5,
        options.seconds(0, 3600),
        "wait before a process that failed again soon is replaced; doubles each time, up to 30 s",
    )
    restart_stable: float = option(
        10.0,
        options.seconds(0, 86_400),
        "a process that served for so long is stable: its past failures are forgotten",
    )
    restart_limit: int = option(
        5,
        options.integer(1, _MOST_COUNT),
        "the server gives up when a process fails so many times in a row without becoming stable",
    )
    max_connection_age: float = option(
        0.0,
        options.seconds(0, 2_000_000),  # gRPC counts its milliseconds in 31 bits
        "a connection is asked to end after so long, so that clients spread anew; 0 means never",
    )
    log_level: str = option("info", options.choice(*logs.LEVELS), "the least level that is logged")

    @classmethod
    def load(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """From a command line (without the program's name) and the environment. Raises SettingsError."""
        given = vars(parser().parse_args(arguments))
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if given.get(field.name) is not None:
                values[field.name] = options.read(field, given[field.name], options.flag(field))
            elif text := environment.get(options.variable(field), ""):
                values[field.name] = options.read(field, text, options.variable(field))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also after JSON made lists of the tuples."""
        restored: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**restored)


def parser(version: str = "") -> argparse.ArgumentParser:
    """The command line of `altclip-server`; values stay text."""
    made = options.Parser(
        prog="altclip-server",
        description="Serve AltCLIP over gRPC. "
        "`altclip-server convert SOURCE DIRECTORY` makes safetensors of a pickle checkpoint, "
        "`altclip-server key NAME` an API key.",
        epilog="Each option can also be given as ALTCLIP_… in the environment, e.g. ALTCLIP_MAX_TEXTS=64; "
        "the command line wins. Repeated ones are separated by spaces there.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"altclip-server {version}".strip())
    for field in dataclasses.fields(Settings):
        text = f"{field.metadata['help']} (default: {options.show(field) or 'none'})".replace("%", "%%")
        repeat = "append" if field.metadata["repeat"] else "store"
        made.add_argument(
            options.flag(field), dest=field.name, action=repeat, metavar=field.metadata["metavar"], help=text
        )
    return made


def markdown_table() -> str:
    """Every option, its variable, default and meaning, for the README."""
    rows = ["| option | environment | default | |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        meaning = field.metadata["help"].replace("|", "\\|")
        default = f"`{options.show(field)}`" if options.show(field) else ""
        rows.append(f"| `{options.flag(field)}` | `{options.variable(field)}` | {default} | {meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(markdown_table() + "\n")
