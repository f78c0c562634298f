"""An AltCLIP service as the embeddings of LangChain: texts, and images in the same space.

    from altclip.langchain import AltClipEmbeddings

    embeddings = AltClipEmbeddings("localhost:50051")
    store = InMemoryVectorStore(embeddings)

Needs `pip install 'altclip[langchain]'`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from altclip.channel import DEFAULT_TIMEOUT
from altclip.client import Client
from altclip.inputs import ImageSource, Uri

_ADDRESS = re.compile(r"(?:data|https?):", re.IGNORECASE)


class AltClipEmbeddings(Embeddings):
    """Embeds texts and images for LangChain's vector stores; all vectors have length 1.

    A failed call raises a subclass of `altclip.AltClipError`. Safe to share between threads. The asynchronous
    methods run the others in a thread.

    Args:
        address: As for `Client`.
        model: The model's name; empty for the server's first.
        api_key, tls, root_certificates, timeout: As for `Client`.
        client: A client of your own, in place of all of these but `model`; it stays yours to close.

    >>> embeddings = AltClipEmbeddings("localhost:50051")
    >>> len(embeddings.embed_query("a black cat"))
    192
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        model: str = "",
        api_key: str | None = None,
        tls: bool = False,
        root_certificates: bytes | Path | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        client: Client | None = None,
    ) -> None:
        self.model = model
        self.client = client or Client(
            address, api_key=api_key, tls=tls, root_certificates=root_certificates, timeout=timeout
        )

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embeds texts: a list of floats for each, in their order.

        >>> [len(vector) for vector in embeddings.embed_documents(["a black cat", "一只黑猫"])]
        [192, 192]
        """
        if not texts:
            return []
        rows: list[list[float]] = self.client.embed_text(texts, model=self.model).vectors.tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Embeds one text, as `embed_documents` does: the model has no other way for queries.

        >>> embeddings.embed_query("a cat") == embeddings.embed_documents(["a cat"])[0]
        True
        """
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Sequence[str | ImageSource]) -> list[list[float]]:
        """Embeds images: a list of floats for each, in their order. It is what the vector stores call that
        take images, such as `Chroma.add_images(uris=…)`.

        Args:
            uris: Names of files, addresses (`data:…`, or `https://…` where the server's operator allows it),
                and all else that `Client.embed_image` takes.

        >>> len(embeddings.embed_image(["cat.png"])[0])
        192
        """
        if not uris:
            return []
        sources = [_source(each) for each in uris]
        rows: list[list[float]] = self.client.embed_image(sources, model=self.model).vectors.tolist()
        return rows

    async def aembed_image(self, uris: Sequence[str | ImageSource]) -> list[list[float]]:
        """`embed_image`, in a thread.

        >>> len((await embeddings.aembed_image(["cat.png"]))[0])
        192
        """
        rows: list[list[float]] = await run_in_executor(None, self.embed_image, uris)
        return rows


def _source(given: str | ImageSource) -> ImageSource:
    """What LangChain calls a URI may be the name of a file."""
    if not isinstance(given, str):
        return given
    return Uri(given) if _ADDRESS.match(given) else Path(given)
