"""Encoders of one's own give what the service gives: the same vectors, the same errors."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altclip import Client
from altclip.bulk.on_ray.encoders import Encoders
from altclip.datasets.items import DataError
from altclip.errors import UnreadableInput
from altclip.inputs import Encoding, Uri
from altclip.results import StreamResult
from tests.server import RunningServer
from tests.worker.inputs.pictures import picture, saved

BUNDLED = Path(__file__).parents[4] / "worker" / "bundled"
PNG = saved(picture(), "PNG")
TEXTS = ["a red balloon", "红气球", "un globo rojo", "", "كرة حمراء", "very long " * 200]
IMAGES = [
    PNG,
    saved(picture(width=300, height=90), "JPEG"),
    Uri(f"data:image/png;base64,{base64.b64encode(PNG).decode()}"),
]
REFUSED: list[Any] = [
    PNG[:70],
    b"%PDF-1.7",
    b"nothing",
    Uri("https://example.org/a.png"),
    Uri("data:nothing"),
    UnreadableInput("of the caller", reason=UnreadableInput.reason_here),
]


@pytest.fixture(scope="module")
def encoders() -> Iterator[Encoders]:
    """The bundled model."""
    made = Encoders("")
    yield made
    made.close()


def streamed(connection: Client | Encoders, encoding: Encoding) -> dict[object, StreamResult]:
    items = enumerate([*TEXTS, *IMAGES, *REFUSED])
    found = list(connection.embed_stream(items, encoding=encoding, model="bundled"))
    assert len(found) == len(TEXTS) + len(IMAGES) + len(REFUSED)
    return {each.id: each for each in found}


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_vectors_and_errors_are_those_of_the_service(
    server: RunningServer, encoders: Encoders, encoding: Encoding
) -> None:
    with Client(server.grpc) as client:
        theirs = streamed(client, encoding)
    ours = streamed(encoders, encoding)
    for key, wanted in theirs.items():
        found = ours[key]
        if wanted.error is not None:
            assert found.error is not None
            assert (type(found.error), found.error.reason) == (type(wanted.error), wanted.error.reason)
            assert found.error.message == wanted.error.message
            continue
        assert wanted.embeddings is not None
        assert found.embeddings is not None
        assert found.embeddings.codes.shape == wanted.embeddings.codes.shape
        assert found.embeddings.codes.dtype == wanted.embeddings.codes.dtype
        assert (found.token_count, found.truncated) == (wanted.token_count, wanted.truncated)
        assert found.revision == wanted.revision
        a, b = found.embeddings.vectors[0].astype(np.float64), wanted.embeddings.vectors[0].astype(np.float64)
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        # A component next to 0 may have another sign, and a code next to a half another number.
        assert cosine >= {"float32": 0.99999, "float16": 0.99999, "int8": 0.9999, "binary": 0.985}[encoding]


def test_the_model_is_described_as_the_service_describes_it(
    server: RunningServer, encoders: Encoders
) -> None:
    with Client(server.grpc) as client:
        assert encoders.get_model("") == client.get_model("bundled")


def test_a_model_that_is_none_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="neither a directory nor a model on the hub"):
        Encoders("m=no such model")


def test_weights_that_are_not_what_their_manifest_says_make_no_vector(tmp_path: Path) -> None:
    rotten = shutil.copytree(BUNDLED, tmp_path / "rotten")
    with (rotten / "model.safetensors").open("r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)[0]
        file.seek(-1000, 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match=r"model\.safetensors is not what the manifest beside it says"):
        Encoders(f"m={rotten}")


def test_without_the_servers_distribution_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['worker'] = sys.modules['service'] = None\n"
        "from altclip.bulk.on_ray.encoders import Encoders\n"
        "from altclip.datasets.items import DataError\n"
        "try: Encoders('')\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'altclip[server]'" in done.stdout
    assert "--address" in done.stdout


def test_an_item_that_is_nothing_of_the_kind_ends_the_stream(encoders: Encoders) -> None:
    with pytest.raises(TypeError, match="bytearray"):
        list(encoders.embed_stream([(1, bytearray(b"x"))]))
