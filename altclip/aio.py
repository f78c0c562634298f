"""The client for asyncio: the methods of `client.py`, to be awaited.

`calls/methods.py` says what each method sends and returns. `calls/aio_connection.py` makes the calls,
`streams/tasks.py` runs the streams. A test holds the signatures and docstrings equal to those of `client.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
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

    >>> async with AsyncClient("localhost:50051") as client:
    ...     calls = client.embed_text("a cat"), client.embed_image(Path("cat.png"))
    ...     words, pictures = await asyncio.gather(*calls)
    >>> words.vectors.shape, pictures.vectors.shape
    ((1, 192), (1, 192))
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        api_key: str | None = None,
        tls: bool = False,
        root_certificates: bytes | Path | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        options: Iterable[ChannelOption] = (),
        tracing: bool = False,
    ) -> None:
        self._connection = AioConnection(
            endpoint(address, api_key, tls, root_certificates, credentials, timeout, options, tracing)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls and streams that are under way end with `Cancelled`.

        >>> await AsyncClient("localhost:50051").close()
        """
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

        >>> (await client.embed_text(["a black cat", "一只黑猫"])).vectors.shape
        (2, 192)
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
            images: One picture or several, each the bytes of a file, a `pathlib.Path`, a file open in mode
                "rb", a `Uri`, a Pillow image, or a numpy array of uint8 [height, width], [height, width, 3]
                (RGB) or [height, width, 4] (RGBA, whose alpha is dropped); never a `str`. A file is read from
                where it stands. An array of four dimensions is several pictures. Row i of the result belongs
                to picture i.
            encoding: How the numbers travel: float32, float16, int8 or binary.
            normalize: Whether each embedding is scaled to length 1.
            orientation: "as_stored" takes the pixels as they stand in the file, which is what the model was
                trained on; "upright" turns each picture as its EXIF data says, as photo viewers do.

        >>> (await client.embed_image([Path("cat.png"), np.zeros((64, 64, 3), np.uint8)])).vectors.shape
        (2, 192)
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
                in any mix. An array of uint8 with two or more dimensions is pixels; the rows of any other
                matrix are embeddings.
            candidates: The same.
            score: "cosine", "logit" (cosine times the model's logit scale) or "probability" (softmax over the
                candidates).
            top_k: How many candidates to return for a query, best first; 0 means all, in their order.
            orientation: As for `embed_image`.

        >>> (await client.similarity(Path("cat.png"), ["car", "cat"], top_k=1)).indices
        array([[1]])
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

        >>> (await client.classify(Path("cat.png"), ["car", "cat"], top_k=1)).results[0][0].label
        'cat'
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

        >>> (await client.encode_prompt(["a black cat", ""])).states.shape
        (2, 77, 192)
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
        stream goes on. It outlives a server that drains or dies; when it fails, its `AltClipError` is raised.

        `items` may be asynchronous. A plain iterable is read on the event loop and must not block it. To stop
        early, close the iterator (`contextlib.aclosing`) or cancel the task: the server then drops the items
        that it has not begun.

        Args:
            items: Texts (`str`) and pictures (as for `embed_image`), alone or as `(id, content)`; an id may
                be anything.
            window: How many items may be on their way at a time. The items on their way never hold more than
                about 64 MiB together.
            timeout: Seconds for the whole stream; no limit unless given.

        >>> items = [("mine", "a black cat"), ("file", Path("cat.png"))]
        >>> sorted([result.id async for result in client.embed_stream(items)])
        ['file', 'mine']
        """
        ledger = Ledger(window)
        config = config_message(model, encoding, normalize, truncation, orientation, priority)
        return StreamTasks(
            ledger, config, orientation, items, self._connection, timeout, request_id_of(request_id)
        ).results()

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """The server's models; the first is the default of every call.

        >>> [model.name for model in await client.list_models()]
        ['bundled']
        """
        return await self._connection.list_models(timeout)

    async def server_version(self, *, timeout: float | None = None) -> str:
        """The version of the server's software, such as "0.2.0"; empty from servers older than 0.2.

        >>> await client.server_version()
        '0...'
        """
        return await self._connection.server_version(timeout)

    async def get_model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """One model: what it is, and what a request may hold. An empty name means the server's first.

        >>> (await client.get_model("bundled")).dimension
        192
        """
        return await self._connection.get_model(name, timeout)

    async def health(self, model: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING, or SERVICE_UNKNOWN for a model that the server does not have. An empty name
        asks for all models together.

        >>> await client.health()
        'SERVING'
        """
        return await self._connection.health(model, timeout)

    async def wait_until_ready(self, model: str = "", *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Waits until the server can answer for this model; an empty name means all models. The server need
        not be running yet.

        Raises `DeadlineExceeded` after `timeout` seconds; its message has the last status that was seen.

        >>> await client.wait_until_ready(timeout=30)
        """
        await self._connection.wait_until_ready(model, timeout)
