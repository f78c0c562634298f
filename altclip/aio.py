"""The client for asyncio: the methods of `client.py`, to be awaited.

`calls/methods.py` says what each method sends and returns. `calls/aio_connection.py` makes the calls,
`streams/tasks.py` runs the streams. A test holds the signatures and docstrings equal to those of `client.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from altclip import inputs
from altclip.calls import methods
from altclip.calls.aio_connection import AioConnection
from altclip.channel import DEFAULT_TIMEOUT, ChannelOption, endpoint, request_id_of
from altclip.results import (
    Classifications,
    ImageEmbeddings,
    Model,
    PromptEncodings,
    Similarities,
    StreamResult,
    TextEmbeddings,
)
from altclip.streams.ledger import WINDOW, Ledger, config_message
from altclip.streams.tasks import Items, StreamTasks


class AsyncClient:
    """A connection to an AltCLIP service for one event loop; create it there, and keep it.

    The arguments, the methods and what they raise are those of `Client`; its docstrings tell what they mean.
    Files are read and pictures compressed in a thread.
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
        self._connection = AioConnection(
            endpoint(address, api_key, tls, root_certificates, credentials, timeout, options)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls and streams that are under way end with `Cancelled`."""
        await self._connection.close()

    async def embed_text(
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
        """Embeds any number of texts. More than the server takes at once are sent in several calls; when one
        of them fails, the whole call fails.

        Args:
            texts: One text or several; row i of the result belongs to text i. An empty text is valid.
            encoding: How the numbers travel: float32, float16, int8 or binary.
            normalize: Whether each embedding is scaled to length 1.
            truncation: What happens to a text with more tokens than the model takes: "truncate" cuts it and
                reports it in `truncated`, "reject" raises `TextTooLong`.
        """
        plan = methods.embed_text(texts, model, encoding, normalize, truncation, priority)
        return await self._connection.run(plan, timeout, request_id)

    async def embed_image(
        self,
        images: inputs.ImageSource | Iterable[inputs.ImageSource],
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        orientation: inputs.Orientation = "as_stored",
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> ImageEmbeddings:
        """Embeds any number of pictures. More than the server takes at once are sent in several calls; when
        one of them fails, the whole call fails.

        Args:
            images: One picture or several, each the bytes of a file, a `pathlib.Path`, a `Uri` or a Pillow
                image; never a `str`. Row i of the result belongs to picture i.
            encoding: How the numbers travel: float32, float16, int8 or binary.
            normalize: Whether each embedding is scaled to length 1.
            orientation: "as_stored" takes the pixels as they stand in the file, which is what the model was
                trained on; "upright" turns each picture as its EXIF data says, as photo viewers do.
        """
        plan = await asyncio.to_thread(
            methods.embed_image, images, model, encoding, normalize, orientation, priority
        )
        return await self._connection.run(plan, timeout, request_id)

    async def similarity(
        self,
        queries: inputs.ItemSource | Iterable[inputs.ItemSource],
        candidates: inputs.ItemSource | Iterable[inputs.ItemSource],
        *,
        model: str = "",
        score: inputs.Score = "cosine",
        top_k: int = 0,
        orientation: inputs.Orientation = "as_stored",
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
            orientation: As for `embed_image`.
        """
        plan = await asyncio.to_thread(
            methods.similarity, queries, candidates, model, score, top_k, orientation, priority
        )
        return await self._connection.run(plan, timeout, request_id)

    async def classify(
        self,
        images: inputs.ImageSource | Iterable[inputs.ImageSource],
        labels: Iterable[str],
        *,
        model: str = "",
        language: str = "en",
        templates: Iterable[str] = (),
        top_k: int = 0,
        orientation: inputs.Orientation = "as_stored",
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Classifications:
        """Tells which of your labels fits each picture best (zero-shot classification).

        Args:
            images: As for `embed_image`.
            labels: The class names, such as "cat" or "猫".
            language: The language of the labels: en zh es fr ru ja ko ar it. The server has prompts of its
                own for each.
            templates: Prompts in place of the server's, each with one `{}` for the label.
            top_k: How many labels to return for a picture, best first; 0 means all, in their order.
            orientation: As for `embed_image`.
        """
        plan = await asyncio.to_thread(
            methods.classify, images, labels, model, language, templates, top_k, orientation, priority
        )
        return await self._connection.run(plan, timeout, request_id)

    async def encode_prompt(
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
        """Returns the hidden state of every token position, which a diffusion model takes as its condition.

        Args:
            texts: The prompts. Classifier-free guidance also needs the states of "".
            states: "altdiffusion" (what its U-Net was trained on) or "altclip" (the last hidden state of
                AltCLIP's text model).
            encoding: float32 or float16.
            truncation: As for `embed_text`.
        """
        plan = methods.encode_prompt(texts, model, states, encoding, truncation, priority)
        return await self._connection.run(plan, timeout, request_id)

    def embed_stream(
        self,
        items: Items,
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        truncation: inputs.Truncation = "truncate",
        orientation: inputs.Orientation = "as_stored",
        priority: inputs.Priority = "default",
        window: int = WINDOW,
        timeout: float | None = math.inf,
        request_id: str | None = None,
    ) -> AsyncGenerator[StreamResult, None]:
        """Embeds any number of texts and pictures over one stream. Results come as they are ready, in any
        order.

        Memory stays bounded: at most `window` items are taken from `items` ahead of the results that you
        took, so a slow consumer pauses the producer. An item that fails is a result with `error`, and the
        stream goes on. When the whole stream fails, its `AltClipError` is raised.

        `items` may be asynchronous. A plain iterable is read on the event loop and must not block it. To stop
        early, close the iterator (`contextlib.aclosing`) or cancel the task: the server then drops the items
        that it has not begun.

        Args:
            items: Texts (`str`) and pictures (as for `embed_image`), alone or as `(id, content)`; an id may
                be anything.
            window: How many items may be on their way at a time. The items on their way never hold more than
                about 64 MiB together.
            timeout: Seconds for the whole stream; no limit unless given.
        """
        ledger = Ledger(window)
        config = config_message(
            inputs.text_of(model, "model"),
            inputs.embedding_options(encoding, normalize, truncation, orientation),
            inputs.choose(inputs.PRIORITIES, priority, "priority"),
        )
        return StreamTasks(
            ledger, config, orientation, items, self._connection, timeout, request_id_of(request_id)
        ).results()

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """The server's models; the first is the default of every call."""
        return await self._connection.list_models(timeout)

    async def server_version(self, *, timeout: float | None = None) -> str:
        """The version of the server's software, such as "0.2.0"; empty from servers older than 0.2."""
        return await self._connection.server_version(timeout)

    async def get_model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """One model: what it is, and what a request may hold. An empty name means the server's first."""
        return await self._connection.get_model(name, timeout)

    async def health(self, model: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN for a model that the server does not have. An empty name
        asks for all models together."""
        return await self._connection.health(model, timeout)

    async def wait_until_ready(self, model: str = "", *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Waits until the server can answer for this model; an empty name means all models. The server need
        not be running yet.

        Raises `DeadlineExceeded` after `timeout` seconds; its message has the last status that was seen.
        """
        await self._connection.wait_until_ready(model, timeout)
