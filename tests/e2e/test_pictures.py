"""Pictures as programs hold them, through the client and the running service."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import altclip
from altclip import Client
from demo import pictures
from tests.server import RunningServer

CAT = pictures.FOLDER / "cat.png"
PROFILE = bytes(range(256)) * 7200  # 1.8 MB


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc) as made:
        made.wait_until_ready(timeout=60)
        yield made


def written(kind: str, mode: str, **options: Any) -> bytes:
    file = io.BytesIO()
    with Image.open(CAT) as image:
        image.convert("RGB").resize((96, 64)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def test_an_opened_photograph_has_the_vector_of_its_file(client: Client) -> None:
    file = written("JPEG", "CMYK", icc_profile=PROFILE)
    vectors = client.embed_image([file, Image.open(io.BytesIO(file))]).vectors
    assert vectors[0] @ vectors[1] > 0.999999


def test_a_portrait_is_upright_on_request_however_it_is_handed_in(client: Client, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = written("PNG", "RGB", exif=exif)
    with Image.open(io.BytesIO(written("PNG", "RGB"))) as image:
        image.rotate(-90, expand=True).save(tmp_path / "upright.png")
    (tmp_path / "turned.png").write_bytes(turned)
    expected = client.embed_image(tmp_path / "upright.png").vectors[0]
    uri = altclip.Uri(f"data:image/png;base64,{base64.b64encode(turned).decode()}")
    sources: list[Any] = [turned, tmp_path / "turned.png", Image.open(io.BytesIO(turned)), uri]
    upright = client.embed_image(sources, orientation="upright").vectors
    assert (upright @ expected).min() > 0.999999
    streamed = [each.vector for each in client.embed_stream(sources, orientation="upright")]
    assert (np.array(streamed) @ expected).min() > 0.999999
    scores = client.similarity(sources, expected, orientation="upright").scores
    assert scores.min() > 0.9999
    stored = client.embed_image(sources).vectors
    assert (stored @ expected).max() < 0.999
    assert (stored @ stored[0]).min() > 0.999999


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "data:image/png; base64,", "DATA:image/png;BASE64,"]
)
def test_an_address_with_the_picture_in_it_is_read_as_browsers_read_it(client: Client, head: str) -> None:
    content = CAT.read_bytes()
    coded = base64.b64encode(content).decode()
    wrapped = "\r\n".join(coded[i : i + 76] for i in range(0, len(coded), 76))
    quoted = coded.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D")
    sources = [altclip.Uri(head + data) for data in (coded, wrapped, quoted, coded.rstrip("="))]
    vectors = client.embed_image([content, *sources]).vectors
    assert (vectors @ vectors[0]).min() > 0.999999
