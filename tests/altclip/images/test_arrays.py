"""An array of pixels is sent losslessly, and what is none is refused with its place in the call."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies
from PIL import Image

import altclip
from altclip import Client
from altclip.images.arrays import png_of
from tests.altclip.fake_service import FakeService

SEED = 5


def pixels(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(SEED).integers(0, 256, shape, np.uint8)


def decoded(png: bytes) -> npt.NDArray[np.uint8]:
    """What a PNG library that is not ours reads."""
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return np.asarray(image)


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (7, 5, 3), (1, 9, 3), (300, 200, 3)])
def test_every_pixel_arrives(shape: tuple[int, ...]) -> None:
    sent = pixels(*shape)
    np.testing.assert_array_equal(decoded(png_of(sent, "images[0]")), sent)


@given(strategies.integers(1, 40), strategies.integers(1, 40), strategies.sampled_from([0, 3, 4]))
def test_every_size_and_number_of_channels_arrives(height: int, width: int, channels: int) -> None:
    sent = pixels(height, width, channels) if channels else pixels(height, width)
    expected = sent[..., :3] if channels else sent
    np.testing.assert_array_equal(decoded(png_of(sent, "images[0]")), expected)


def test_alpha_is_dropped_as_the_service_drops_it() -> None:
    sent = pixels(6, 8, 4)
    as_pillow = np.asarray(Image.fromarray(sent, "RGBA").convert("RGB"))
    np.testing.assert_array_equal(decoded(png_of(sent, "images[0]")), as_pillow)


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[:, ::-1],
        lambda array: array[::2, 1::3],
        lambda array: np.asfortranarray(array),
        lambda array: array[..., ::-1],  # BGR, as OpenCV reads files
    ],
)
def test_a_view_of_another_array_is_sent_as_it_looks(view: Any) -> None:
    sent = view(pixels(12, 10, 3))
    np.testing.assert_array_equal(decoded(png_of(sent, "images[0]")), sent)
    sent.flags.writeable = False
    np.testing.assert_array_equal(decoded(png_of(sent, "images[0]")), sent)


def test_a_smooth_image_gets_smaller() -> None:
    down, across = np.mgrid[:400, :400]
    sent = ((down + across) // 4 % 256).astype(np.uint8)
    assert len(png_of(sent, "images[0]")) < sent.size / 20


REFUSED: list[tuple[Any, str]] = [
    (np.zeros((4, 5, 3)), "pixels are uint8 from 0 to 255, not float64; multiply floats"),
    (np.zeros((4, 5, 3), np.int64), "pixels are uint8 from 0 to 255, not int64$"),
    (np.zeros((4, 5), np.bool_), "not bool"),
    (np.array(["a.png"]), "not <U5"),
    (pixels(3, 20, 30), r"not \[3, 20, 30\]; put the channels last: array.transpose"),
    (pixels(20, 30, 2), r"not \[20, 30, 2\]$"),
    (pixels(2, 20, 30, 3), r"not \[2, 20, 30, 3\]$"),
    (pixels(90), r"not \[90\]; the bytes of a file are given as array.tobytes"),
    (np.uint8(3) + np.zeros((), np.uint8), "pixels are"),
    (pixels(0, 5, 3), r"an image of \[0, 5, 3\] has no pixels"),
]


@pytest.mark.parametrize(("array", "what"), REFUSED)
def test_what_is_no_image_is_refused_by_its_place(
    client: Client, service: FakeService, array: Any, what: str
) -> None:
    given = np.asarray(array)
    with pytest.raises(altclip.InvalidArgument, match=what) as caught:
        client.embed_image([b"an image", given])
    assert caught.value.fields[0].field == "images[1]"
    assert not service.seen["EmbedImage"]


@pytest.mark.parametrize("method", ["embed_image", "classify", "similarity", "embed_stream"])
def test_every_method_that_takes_an_image_takes_an_array(
    client: Client, service: FakeService, method: str
) -> None:
    sent = pixels(5, 4, 3)
    if method == "embed_image":
        client.embed_image(sent)
        images = service.seen["EmbedImage"][0].images
    elif method == "classify":
        client.classify([sent], ["a"])
        images = service.seen["ClassifyImage"][0].images
    elif method == "similarity":
        client.similarity(sent, [sent, "a"])
        (request,) = service.seen["Similarity"]
        images = [request.queries[0].image, request.candidates[0].image]
    else:
        (result,) = client.embed_stream([("mine", sent)])
        assert (result.id, result.vector[0]) == ("mine", len(png_of(sent, "")))
        return
    for image in images:
        np.testing.assert_array_equal(decoded(image.content), sent)


def test_several_arrays_are_several_images(client: Client, service: FakeService) -> None:
    frames = pixels(3, 6, 5, 3)
    assert len(client.embed_image(frames)) == 3
    assert len(client.embed_image(list(frames))) == 3
    first, second = service.seen["EmbedImage"]
    assert list(first.images) == list(second.images)
    np.testing.assert_array_equal(decoded(first.images[2].content), frames[2])


def test_a_bad_array_in_a_stream_fails_alone(client: Client) -> None:
    items: list[Any] = [pixels(4, 4, 3), np.zeros((4, 4)), pixels(4, 4)]
    results = sorted(client.embed_stream(items), key=lambda result: result.index)
    assert [type(result.error) for result in results] == [type(None), altclip.InvalidArgument, type(None)]
    assert "items[1]: pixels are uint8" in str(results[1].error)


def test_in_a_comparison_pixels_are_told_from_embeddings(client: Client, service: FakeService) -> None:
    client.similarity([pixels(6, 5), pixels(6, 5, 3)], np.eye(4))
    (request,) = service.seen["Similarity"]
    assert [each.WhichOneof("item") for each in request.queries] == ["image", "image"]
    assert [each.WhichOneof("item") for each in request.candidates] == ["vector"] * 4
    with pytest.raises(altclip.InvalidArgument, match=r"queries\[0\]: an embedding has one dimension, not 2"):
        client.similarity([np.eye(4)], "a")
    with pytest.raises(altclip.InvalidArgument, match=r"candidates\[0\]: pixels are"):
        client.similarity("a", [pixels(6, 5, 2)])
