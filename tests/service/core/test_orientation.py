"""Orientation over gRPC: each RPC that takes pictures turns them on request, and caches keep both apart."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.messages import Image, Options, Orientation
from service.frontend.calls.call import Call
from service.frontend.core.embed_items import Part, WholeItem, embed_items
from tests.service.running import Running, running
from tests.service.streaming import batch, run

UPRIGHT = pb.EmbeddingOptions(orientation=pb.ORIENTATION_UPRIGHT)
AS_STORED = pb.EmbeddingOptions(orientation=pb.ORIENTATION_AS_STORED)


def photograph() -> bytes:
    """A portrait as a phone stores it: on its side, with a note how to turn it."""
    pixels = np.random.default_rng(5).integers(0, 256, (30, 50, 3), np.uint8)
    exif, file = PillowImage.Exif(), io.BytesIO()
    exif[0x0112] = 6
    PillowImage.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


def turned(content: bytes) -> bytes:
    """The same with its pixels turned, and no note."""
    file = io.BytesIO()
    with PillowImage.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image)
    PillowImage.fromarray(np.asarray(upright)).save(file, "PNG")
    return file.getvalue()


STORED = pb.Image(content=photograph())
TURNED = pb.Image(content=turned(photograph()))


@pytest.fixture(params=[0, 1 << 20], ids=["no cache", "a cache"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with running(cache_bytes=request.param) as made:
        yield made


async def embedded(service: Running, image: pb.Image, options: pb.EmbeddingOptions | None = None) -> bytes:
    request = pb.EmbedImageRequest(images=[image], options=options)
    return bytes((await service.call("EmbedImage", request)).embeddings.data)


async def test_embed_image_turns_a_picture_where_it_is_asked_to(service: Running) -> None:
    lying, standing = await embedded(service, STORED), await embedded(service, TURNED)
    assert lying != standing
    for _ in range(2):
        assert await embedded(service, STORED, UPRIGHT) == standing
        assert await embedded(service, STORED, AS_STORED) == lying
        assert await embedded(service, STORED) == lying
        assert await embedded(service, TURNED, UPRIGHT) == standing


async def test_both_at_once_share_no_decoding_and_no_computation(service: Running) -> None:
    lying, standing = await asyncio.gather(embedded(service, STORED), embedded(service, STORED, UPRIGHT))
    assert standing == await embedded(service, TURNED)
    assert lying == await embedded(service, STORED, AS_STORED)
    assert lying != standing


async def test_similarity_turns_the_pictures_of_both_sides(service: Running) -> None:
    request = pb.SimilarityRequest(
        queries=[pb.Item(image=STORED)],
        candidates=[pb.Item(image=TURNED), pb.Item(image=STORED)],
        orientation=pb.ORIENTATION_UPRIGHT,
    )
    (row,) = (await service.call("Similarity", request)).rows
    np.testing.assert_allclose(list(row.scores), [1.0, 1.0], atol=1e-6)
    request.ClearField("orientation")
    (row,) = (await service.call("Similarity", request)).rows
    assert row.scores[0] < 0.999
    assert row.scores[1] == pytest.approx(1.0, abs=1e-6)


async def test_classify_image_turns_its_pictures(service: Running) -> None:
    async def probabilities(image: pb.Image, orientation: Any) -> list[float]:
        request = pb.ClassifyImageRequest(images=[image], labels=["cat", "dog"], orientation=orientation)
        (result,) = (await service.call("ClassifyImage", request)).results
        return [label.probability for label in result.labels]

    upright = await probabilities(STORED, pb.ORIENTATION_UPRIGHT)
    assert upright == await probabilities(TURNED, pb.ORIENTATION_UNSPECIFIED)
    assert upright != await probabilities(STORED, pb.ORIENTATION_UNSPECIFIED)


async def test_a_stream_turns_all_its_pictures_and_counts_the_tokens_of_texts(service: Running) -> None:
    config = pb.EmbedStreamRequest(config=pb.StreamConfig(options=UPRIGHT))
    items = [
        pb.StreamItem(id="picture", image=STORED),
        pb.StreamItem(id="text", text="two words"),
        pb.StreamItem(id="bad", image=pb.Image(content=b"x")),
        pb.StreamItem(id="empty", text=""),
    ]
    answers = await run(service, config, batch(*items))
    assert answers.rows["picture"].tobytes() == await embedded(service, TURNED)
    counts: dict[str, int] = {}
    for message in answers.messages:
        assert len(message.token_counts) == len(message.ids)
        counts |= dict(zip(message.ids, message.token_counts, strict=True))
    assert counts == {"picture": 0, "text": 4, "empty": 2}


@pytest.mark.parametrize(
    ("method", "request_", "path"),
    [
        ("EmbedImage", pb.EmbedImageRequest(images=[STORED]), "options.orientation"),
        ("Similarity", pb.SimilarityRequest(queries=[pb.Item(text="a")]), "orientation"),
        ("ClassifyImage", pb.ClassifyImageRequest(images=[STORED], labels=["a"]), "orientation"),
    ],
)
async def test_an_orientation_that_there_is_not_is_refused_by_name(
    service: Running, method: str, request_: Any, path: str
) -> None:
    target = request_.options if path.startswith("options") else request_
    target.orientation = 3
    refused = await service.refusal(method, request_)
    assert (refused.reason, refused.paths) == ("INVALID_REQUEST", [path])


async def test_the_core_tells_each_pictures_own_size_computed_or_cached(service: Running) -> None:
    images = [Image(content=photograph()), Image(content=turned(photograph()))]
    items = [WholeItem("input", [Part("input", image=image)]) for image in images]

    async def sizes(options: Options) -> Sequence[tuple[int, int]]:
        done = await embed_items(service.server.core, Call(), "", items, options, path="input", most_texts=0)
        return done.image_sizes

    for _ in range(2):
        assert await sizes(Options()) == [(50, 30), (30, 50)]
        assert await sizes(Options(orientation=Orientation.UPRIGHT)) == [(30, 50), (30, 50)]
