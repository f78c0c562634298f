"""All settings: one frozen class. Imports the standard library, and the torch-free names of `worker`.

A field's metadata holds its help, how its text is read and what is accepted. `command_line.py` makes from it
the command line, the environment, `--help` and the documented tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.config import readers
from service.config.options import option
from service.config.serving import MOST_BYTES, MOST_COUNT, ServingSettings
from worker import spec
from worker.runtime import logs

__all__ = ["Settings"]

# More than any machine has.
_MOST_MEMORY = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServingSettings):
    """Sizes are in bytes, times in seconds, unless the help says otherwise."""

    frontends: int = option(
        1,
        readers.integer(1, 256),
        "frontend processes, which answer gRPC and HTTP",
        opens="Processes, and the decoding of images",
    )
    replicas: int = option(1, readers.integer(1, 256), "workers per model and device")
    threads: int = option(
        0,
        readers.integer(0, 4096),
        "threads of each worker on a CPU; 0 shares what the process may use between them",
    )
    kernels: str = option(
        "auto",
        readers.choice("auto", "mkl", "onednn", "onednn-packed"),
        "what multiplies matrices on a CPU; auto measures at the start what is fastest for each size. "
        "onednn-packed keeps a copy of the weights in an order of its own",
    )
    preprocess_threads: int = option(
        0,
        readers.integer(0, 1024),
        "threads of each frontend that tokenise and unpack data: URIs; 0 means as many as CPUs it may use",
    )
    decoders: int = option(
        0,
        readers.integer(0, 1024),
        "sandboxed processes of each frontend that decode images; one more takes interactive images only. "
        "0 shares the CPUs that may be used between the frontends",
    )
    jpeg_scaling: str = option(
        "exact",
        readers.choice("exact", "fast"),
        "fast lets the JPEG decoder scale large images down as it reads them: several times as fast, "
        "embeddings within cosine 0.999 of the exact ones",
    )
    decode_timeout: float = option(
        30.0,
        readers.seconds(0.1, 3600),
        "an image that takes longer to decode is refused, and its decoder replaced",
    )

    max_texts: int = option(
        256,
        readers.integer(1, MOST_COUNT),
        "the most texts in a call",
        opens="Limits of a request",
    )
    max_images: int = option(64, readers.integer(1, MOST_COUNT), "the most images in a call")
    max_items: int = option(
        1024,
        readers.integer(1, MOST_COUNT),
        "the most queries, and candidates, of a Similarity call",
    )
    max_labels: int = option(1000, readers.integer(1, MOST_COUNT), "the most labels of a ClassifyImage call")
    max_templates: int = option(
        100, readers.integer(1, MOST_COUNT), "the most templates of a ClassifyImage call"
    )
    max_prompts: int = option(64, readers.integer(1, MOST_COUNT), "the most texts in an EncodePrompt call")
    max_stream_items: int = option(
        1024, readers.integer(1, MOST_COUNT), "the most items in one message of a stream"
    )
    max_text_bytes: int = option(65_536, readers.size(1, MOST_BYTES), "the size of a text in UTF-8")
    max_image_bytes: int = option(32 << 20, readers.size(1, MOST_BYTES), "the size of an image file")
    max_image_pixels: int = option(
        spec.MAX_IMAGE_PIXELS,
        readers.integer(1, 1_000_000_000),
        "width × height of an image, by its header",
    )
    max_message_bytes: int = option(
        36 << 20,
        readers.size(1 << 16, (1 << 31) - 1),
        "the size of a gRPC message that is received; keep it above max-image-bytes",
    )

    image_urls: tuple[str, ...] = option(
        (),
        readers.schemes,
        "fetch images from the internet: https, http, or with another port https:8443; without it no address "
        "is fetched. Only public addresses are ever dialled",
        metavar="SCHEME[:PORT]",
        repeat=True,
        opens="Images behind addresses",
    )
    image_url_hosts: tuple[str, ...] = option(
        (),
        readers.domains,
        "fetch from these hosts only, such as images.example.com or *.example.com",
        metavar="HOST",
        repeat=True,
    )
    image_url_timeout: float = option(
        10.0,
        readers.seconds(0.1, 300),
        "how long an image may take, from connecting to its last byte",
    )
    image_url_concurrency: int = option(
        16,
        readers.integer(1, 1024),
        "how many images each frontend fetches at a time, at most three quarters of them for one caller",
    )
    image_url_cache_bytes: int = option(
        32 << 20,
        readers.size(0, _MOST_MEMORY),
        "cache of fetched images per frontend, kept for a minute; 0 turns it off",
    )

    max_wait: float = option(
        10.0,
        readers.seconds(0.01, 3600),
        "calls are refused when they can expect to wait for longer than this; sooner while a queue stands",
        opens="Queues, batches and caches",
    )
    max_queue_items: int = option(
        4096,
        readers.integer(1, MOST_COUNT),
        "items under way per model and frontend before calls are refused",
    )
    max_queue_bytes: int = option(
        512 << 20,
        readers.size(1 << 20, _MOST_MEMORY),
        "texts, encoded images and pixels under way per model and frontend before calls are refused",
    )
    stream_window: int = option(
        1024,
        readers.integer(1, MOST_COUNT),
        "items of one stream under way at a time; a picture counts as four",
    )
    batch_tokens: int = option(
        0,
        readers.integer(0, MOST_COUNT),
        "tokens in a batch of texts; 0 lets the worker choose for its device",
    )
    batch_images: int = option(
        0, readers.integer(0, MOST_COUNT), "images in a batch; 0 lets the worker choose for its device"
    )
    batch_wait: float = option(
        0.0,
        readers.seconds(0, 10),
        "how long an idle worker waits for company for a first item, unless its deadline is near; less than "
        "half of hang-timeout",
    )
    cache_bytes: int = option(
        0,
        readers.size(0, _MOST_MEMORY),
        "cache of what was computed, per frontend, by content; a row takes 4 bytes a component and about 600 "
        "more. 0 turns it off",
    )
    label_cache_bytes: int = option(
        64 << 20, readers.size(0, _MOST_MEMORY), "cache of label embeddings per frontend; 0 turns it off"
    )

    grace: float = option(
        30.0,
        readers.seconds(0, 86_400),
        "how long calls may take to end after SIGTERM",
        opens="How processes and connections begin and end",
    )
    load_timeout: float = option(
        600.0, readers.seconds(0.1, 86_400), "how long a worker may take to be ready before it is replaced"
    )
    hang_timeout: float = option(
        60.0,
        # Frontends are held to it as well. They tell only every quarter of a second that they run.
        readers.seconds(1, 86_400),
        "a worker that owes answers and makes no progress for so long is replaced; "
        "keep it well above the time of one batch",
    )
    restart_backoff: float = option(
        0.5,
        readers.seconds(0, 3600),
        "wait before a process that failed again soon is replaced; doubles each time, up to 30 s",
    )
    restart_stable: float = option(
        10.0,
        readers.seconds(0, 86_400),
        "a process that served for so long is stable: its past failures are forgotten",
    )
    restart_limit: int = option(
        5,
        readers.integer(1, MOST_COUNT),
        "the server gives up when a process fails so many times in a row without becoming stable",
    )
    max_connection_age: float = option(
        0.0,
        readers.seconds(0, 2_000_000),  # gRPC counts its milliseconds in 31 bits
        "a connection is asked to end after so long, so that clients spread anew; 0 means never",
    )

    tracing: str = option(
        "off",
        readers.choice("off", "on"),
        "on sends a span of every traced call to an OpenTelemetry collector; needs the extra `tracing`",
        opens="Traces and logs",
    )
    trace_endpoint: str = option(
        "",
        readers.collector,
        "where the collector takes OTLP over gRPC; without it OTEL_EXPORTER_OTLP_ENDPOINT says so, else "
        "http://localhost:4317",
        metavar="URL",
    )
    trace_ratio: float = option(
        1.0,
        readers.ratio,
        "the part of the calls that is traced, from 0 to 1, where the caller has not decided; "
        "OTEL_TRACES_SAMPLER takes its place",
    )

    log_level: str = option("info", readers.choice(*logs.LEVELS), "the least level that is logged")

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
