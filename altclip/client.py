"""The client for programs that block: plain methods over gRPC. `aio.py` is its twin for asyncio.

What each method sends and gives back is in `calls.py`; how it travels is in `connection.py` and
`stream_threads.py`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from altclip import inputs
from altclip.calls import methods as calls
from altclip.calls.connection import Connection
from altclip.channel import DEFAULT_TIMEOUT, ChannelOption, Endpoint, channel_credentials, new_request_id
from altclip.results import (
    Classifications,
    ImageEmbeddings,
    Model,
    PromptEncodings,
    Similarities,
    StreamResult,
    TextEmbeddings,
)
from altclip.streams import ledger as stream
from altclip.streams.threads import StreamThreads


class Client:
    """A connection to an AltCLIP service; safe to share between threads, and meant to be kept.

    Every method takes `model` (empty: the server's first), `timeout` in seconds (None: the client's own;
    `math.inf`: none) and `request_id` (None: a new one), and raises a subclass of `AltClipError` when the
    call fails. Where something is embedded, `priority` says who goes first: "interactive" or "bulk".

    Args:
        address: `host:port`, or any target of gRPC such as `dns:///altclip.default.svc:50051`.
        api_key: Sent as `authorization: Bearer`; use TLS with it outside of one host.
        tls: Whether the connection is encrypted, checked against the system's certificates.
        root_certificates: PEM, or the file with it, to check the server against instead; implies `tls`.
        credentials: gRPC's own channel credentials, for mutual TLS; in place of the two above.
        timeout: Seconds that a call may take, retries included.
        options: Channel options in place of those of the same name in `CHANNEL_OPTIONS`.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        api_key: str | None = None,
        tls: bool = False,
        root_certificates: bytes | Path | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        options: Iterable[ChannelOption] = (),
    ) -> None:
        self._connection = Connection(
            Endpoint(
                address=address,
                api_key=api_key,
                credentials=credentials or channel_credentials(tls, root_certificates),
                timeout=timeout,
                options=tuple(options),
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls and streams that are under way end with `Cancelled`."""
        self._connection.close()

    def embed_text(
        self,
        texts: str | Iterable[str],
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        truncation: inputs.Truncation = "truncate",
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> TextEmbeddings:
        """Embeds texts, any number; more than the server takes at once are sent in several calls, all or
        nothing.

        Args:
            texts: One text or several; row i of the result belongs to text i. An empty text is valid.
            encoding: How the numbers travel: float32, float16, int8 or binary.
            normalize: Whether each embedding is scaled to length 1.
            truncation: "truncate" cuts texts over the model's tokens and reports them, "reject" raises
                `TextTooLong`.
        """
        plan = calls.embed_text(texts, model, encoding, normalize, truncation, priority)
        return self._connection.run(plan, timeout, request_id)

    def embed_image(
        self,
        images: inputs.ImageSource | Iterable[inputs.ImageSource],
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> ImageEmbeddings:
        """Embeds pictures, any number; more than the server takes at once are sent in several calls, all or
        nothing.

        Args:
            images: One picture or several, each the bytes of a file, a `pathlib.Path`, a `Uri` or a Pillow
                image; never a `str`. Row i of the result belongs to picture i.
            encoding: How the numbers travel: float32, float16, int8 or binary.
            normalize: Whether each embedding is scaled to length 1.
        """
        return self._connection.run(
            calls.embed_image(images, model, encoding, normalize, priority), timeout, request_id
        )

    def similarity(
        self,
        queries: inputs.ItemSource | Iterable[inputs.ItemSource],
        candidates: inputs.ItemSource | Iterable[inputs.ItemSource],
        *,
        model: str = "",
        score: inputs.Score = "cosine",
        top_k: int = 0,
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Similarities:
        """Scores every query against every candidate.

        Args:
            queries: Texts (`str`), pictures (as for `embed_image`) and embeddings (numpy, one-dimensional),
                in any mix.
            candidates: The same.
            score: "cosine", "logit" (cosine times the model's logit scale) or "probability" (softmax over the
                candidates).
            top_k: How many candidates to return for a query, best first; 0 means all, in their order.
        """
        plan = calls.similarity(queries, candidates, model, score, top_k, priority)
        return self._connection.run(plan, timeout, request_id)

    def classify(
        self,
        images: inputs.ImageSource | Iterable[inputs.ImageSource],
        labels: Iterable[str],
        *,
        model: str = "",
        language: str = "en",
        templates: Iterable[str] = (),
        top_k: int = 0,
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Classifications:
        """Classifies pictures into labels of your own, zero-shot.

        Args:
            images: As for `embed_image`.
            labels: The class names, such as "cat" or "猫".
            language: The language of the labels, which picks the server's prompts: en zh es fr ru ja ko ar
                it.
            templates: Prompts in place of the server's, each with one `{}` for the label.
            top_k: How many labels to return for a picture, best first; 0 means all, in their order.
        """
        plan = calls.classify(images, labels, model, language, templates, top_k, priority)
        return self._connection.run(plan, timeout, request_id)

    def encode_prompt(
        self,
        texts: str | Iterable[str],
        *,
        model: str = "",
        states: inputs.States = "altdiffusion",
        encoding: inputs.Encoding = "float32",
        truncation: inputs.Truncation = "truncate",
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> PromptEncodings:
        """Gives the states of every token position, as a diffusion model takes them.

        Args:
            texts: The prompts. For classifier-free guidance send "" too.
            states: "altdiffusion" (what its U-Net was trained on) or "altclip" (the last hidden state of
                AltCLIP's text model).
            encoding: float32 or float16.
            truncation: As for `embed_text`.
        """
        plan = calls.encode_prompt(texts, model, states, encoding, truncation, priority)
        return self._connection.run(plan, timeout, request_id)

    def embed_stream(
        self,
        items: Iterable[stream.StreamInput],
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        truncation: inputs.Truncation = "truncate",
        priority: inputs.Priority = "default",
        window: int = stream.WINDOW,
        timeout: float | None = math.inf,
        request_id: str | None = None,
    ) -> Generator[StreamResult, None, None]:
        """Embeds any number of texts and pictures over one stream; results come as they are ready, in any
        order.

        Memory stays bounded: at most `window` items are taken from `items` ahead of the results that you
        took, so a slow consumer pauses the producer. `items` is read in a thread of its own. An item that
        fails is a result with `error`; the stream goes on. When the whole stream fails, its `AltClipError` is
        raised. Stop early by closing the iterator or letting it go: the server drops what it has not begun.

        Args:
            items: Texts (`str`) and pictures (as for `embed_image`), alone or as `(id, content)`; an id may
                be anything.
            window: How many items may be on their way. Fewer are, when they are large (64 MiB in all).
            timeout: Seconds for the whole stream; without limit unless given.
        """
        ledger = stream.Ledger(window)
        config = stream.config_message(
            model,
            inputs.embedding_options(encoding, normalize, truncation),
            inputs.choose(inputs.PRIORITIES, priority),
        )
        return StreamThreads(
            ledger, config, items, self._connection, timeout, request_id or new_request_id()
        ).results()

    def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """The server's models; the first is the default of every call."""
        return self._connection.list_models(timeout)

    def get_model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """One model: what it is and what a request to it may hold. Empty means the server's first."""
        return self._connection.get_model(name, timeout)

    def health(self, model: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN for a model that is not there; empty means all models."""
        return self._connection.health(model, timeout)

    def wait_until_ready(self, model: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Returns when the server answers for this model (empty: for all), also when it is only being started
        now.

        Raises DeadlineExceeded after `timeout` seconds, with what it heard last.
        """
        self._connection.wait_until_ready(model, timeout)
