"""The client for asyncio: the same methods as in `client.py`, to be awaited.

What each method sends and gives back is in `calls.py`; how it travels is in `aio_connection.py` and
`stream_tasks.py`.
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
from altclip.calls import methods as calls
from altclip.calls.aio_connection import AioConnection
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
            Endpoint(
                address=address,
                api_key=api_key,
                credentials=credentials or channel_credentials(tls, root_certificates),
                timeout=timeout,
                options=tuple(options),
            )
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
        """Embeds texts, any number; row i of the result belongs to text i."""
        plan = calls.embed_text(texts, model, encoding, normalize, truncation, priority)
        return await self._connection.run(plan, timeout, request_id)

    async def embed_image(
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
        """Embeds pictures, any number; row i of the result belongs to picture i."""
        plan = await asyncio.to_thread(calls.embed_image, images, model, encoding, normalize, priority)
        return await self._connection.run(plan, timeout, request_id)

    async def similarity(
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
        """Scores every query against every candidate."""
        plan = await asyncio.to_thread(calls.similarity, queries, candidates, model, score, top_k, priority)
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
        priority: inputs.Priority = "default",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Classifications:
        """Classifies pictures into labels of your own, zero-shot."""
        plan = await asyncio.to_thread(
            calls.classify, images, labels, model, language, templates, top_k, priority
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
        """Gives the states of every token position, as a diffusion model takes them."""
        plan = calls.encode_prompt(texts, model, states, encoding, truncation, priority)
        return await self._connection.run(plan, timeout, request_id)

    def embed_stream(
        self,
        items: Items,
        *,
        model: str = "",
        encoding: inputs.Encoding = "float32",
        normalize: bool = True,
        truncation: inputs.Truncation = "truncate",
        priority: inputs.Priority = "default",
        window: int = stream.WINDOW,
        timeout: float | None = math.inf,
        request_id: str | None = None,
    ) -> AsyncGenerator[StreamResult, None]:
        """Embeds any number of texts and pictures over one stream; results come as they are ready.

        As `Client.embed_stream`, but `items` may be asynchronous; a plain iterable is read on the event loop
        and must not block it. To stop early, close the iterator (`contextlib.aclosing`), or cancel the task.
        """
        ledger = stream.Ledger(window)
        config = stream.config_message(
            model,
            inputs.embedding_options(encoding, normalize, truncation),
            inputs.choose(inputs.PRIORITIES, priority),
        )
        return StreamTasks(
            ledger, config, items, self._connection, timeout, request_id or new_request_id()
        ).results()

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """The server's models; the first is the default of every call."""
        return await self._connection.list_models(timeout)

    async def get_model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """One model: what it is and what a request to it may hold. Empty means the server's first."""
        return await self._connection.get_model(name, timeout)

    async def health(self, model: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN for a model that is not there; empty means all models."""
        return await self._connection.health(model, timeout)

    async def wait_until_ready(self, model: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Returns when the server answers for this model (empty: for all), also when it is only being started
        now.

        Raises DeadlineExceeded after `timeout` seconds, with what it heard last.
        """
        await self._connection.wait_until_ready(model, timeout)
