"""The Python client and its command line against the running service with the bundled model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import altclip
from altclip import AsyncClient, Client
from demo import pictures
from tests.server import RunningServer

CAT = pictures.FOLDER / "cat.png"


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc) as made:
        made.wait_until_ready(timeout=60)
        yield made


def test_a_word_means_the_same_in_nine_languages(client: Client) -> None:
    words = next(picture for picture in pictures.load() if picture.concept == "cat").names
    cats = client.embed_text([words[language] for language in pictures.LANGUAGES]).vectors
    other = client.embed_text("tractor").vectors[0]
    assert (cats @ cats.T).min() > (cats @ other).max()


def test_every_way_to_hand_in_a_picture_gives_one_embedding(client: Client) -> None:
    with Image.open(CAT) as opened:
        result = client.embed_image([CAT, CAT.read_bytes(), opened])
    assert result.vectors.shape == (3, client.get_model().dimension)
    assert (result.vectors @ result.vectors[0]).min() > 0.99999


def test_unary_stream_sync_and_async_agree(client: Client, server: RunningServer) -> None:
    words = ["cat", "猫", "", "a rather longer text about a red balloon"]
    unary = client.embed_text(words).vectors
    streamed = sorted(client.embed_stream(words), key=lambda result: result.index)

    async def awaited() -> Any:
        async with AsyncClient(server.grpc) as other:
            texts = await other.embed_text(words)
            items = [result async for result in other.embed_stream(words)]
            return texts.vectors, sorted(items, key=lambda result: result.index)

    texts, items = asyncio.run(awaited())
    for row, expected in enumerate(unary):
        for found in (streamed[row].vector, texts[row], items[row].vector):
            assert found @ expected > 0.99999
    assert streamed[0].revision == client.get_model().revision


@pytest.mark.parametrize(("encoding", "closeness"), [("float16", 0.9999), ("int8", 0.999), ("binary", 0.7)])
def test_smaller_encodings_keep_the_direction(client: Client, encoding: Any, closeness: float) -> None:
    exact = client.embed_text("cat").vectors[0]
    small = client.embed_text("cat", encoding=encoding).vectors[0]
    assert exact @ small / np.linalg.norm(small) > closeness


def test_scores_and_classes_follow_from_the_embeddings(client: Client) -> None:
    vectors = client.embed_text(["cat", "dog"]).vectors
    image = client.embed_image(CAT).vectors[0]
    result = client.similarity(CAT, ["cat", vectors[1]], score="cosine")
    np.testing.assert_allclose(result.scores[0], vectors @ image, atol=1e-5)
    probabilities = client.similarity(CAT, ["cat", "dog"], score="probability").scores[0]
    logits = result.logit_scale * (vectors @ image)
    np.testing.assert_allclose(
        probabilities, np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum(), atol=1e-4
    )
    (labels,) = client.classify(CAT, ["chat", "chien"], language="fr").results
    assert sum(label.probability for label in labels) == pytest.approx(1, abs=1e-4)


def test_prompts_give_states_for_a_diffusion_model(client: Client) -> None:
    model = client.get_model()
    result = client.encode_prompt(["a red balloon", ""], encoding="float16")
    assert result.states.shape == (2, 77, model.state_dimension)
    assert result.attention_mask.sum(axis=1).tolist()[1] == 2
    assert np.isfinite(result.states).all()


def test_more_texts_than_a_call_may_hold_come_back_in_order(client: Client) -> None:
    most = client.get_model().limits.max_texts
    words = [f"text number {number % 7}" for number in range(most + 40)]
    result = client.embed_text(words)
    single = client.embed_text(words[:7]).vectors
    assert len(result) == len(words)
    assert min(result.vectors[row] @ single[row % 7] for row in range(len(words))) > 0.9999


def test_errors_of_the_real_service_are_typed(client: Client) -> None:
    with pytest.raises(altclip.ModelNotFound, match="bundled"):
        client.embed_text("a", model="nope")
    with pytest.raises(altclip.InvalidImage) as caught:
        client.embed_image([CAT, b"no picture"], request_id="find-me")
    assert (caught.value.reason, caught.value.request_id) == ("UNDECODABLE_IMAGE", "find-me")
    assert caught.value.fields[0].field == "images[1].content"
    with pytest.raises(altclip.InvalidRequest) as caught_empty:
        client.embed_text([])
    assert caught_empty.value.fields[0].field == "texts"
    with pytest.raises(altclip.TextTooLong):
        client.embed_text("long " * 200, truncation="reject")
    assert client.embed_text("long " * 200).truncated == (0,)
    with pytest.raises(altclip.MessageTooLarge):
        client.similarity(b"x" * (40 << 20), "a")
    with pytest.raises(altclip.ModelNotFound):
        list(client.embed_stream(["a"], model="nope"))


def test_a_bad_item_of_a_stream_leaves_the_others(client: Client) -> None:
    results = {
        result.id: result
        for result in client.embed_stream([("good", CAT), ("bad", b"nothing"), ("text", "")])
    }
    assert isinstance(results["bad"].error, altclip.InvalidImage)
    assert results["good"].error is results["text"].error is None


def test_leaving_a_stream_early_hurts_nobody(client: Client, server: RunningServer) -> None:
    for _ in range(3):
        with contextlib.closing(client.embed_stream("text" for _ in itertools.count())) as results:
            assert next(results).error is None
    assert len(client.embed_text("still here")) == 1


def test_one_client_serves_many_threads(client: Client) -> None:
    expected = {word: client.embed_text(word).vectors[0] for word in ("cat", "dog", "rocket", "rose")}
    with ThreadPoolExecutor(8) as pool:
        for word, result in pool.map(lambda word: (word, client.embed_text(word)), list(expected) * 10):
            assert result.vectors[0] @ expected[word] > 0.99999


def test_the_command_line_works_end_to_end(server: RunningServer, tmp_path: Path) -> None:
    def altclip_command(*arguments: str | Path, given: str = "") -> str:
        command = [sys.executable, "-m", "altclip", *map(str, arguments), "--address", server.grpc]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, input=given, timeout=60
        ).stdout

    assert altclip_command("health", "--wait", "30") == "SERVING\n"
    (model,) = json.loads(altclip_command("models", "--json"))
    assert model["name"] == "bundled"
    assert "cat.png" in altclip_command("classify", CAT, "--labels", "cat", "dog")
    lines = json.dumps({"id": "a", "text": "cat"}) + "\n" + json.dumps({"id": "b", "image": str(CAT)}) + "\n"
    output = altclip_command("embed-stream", "--output", tmp_path / "out.npy", given=lines)
    assert sorted(json.loads(line)["id"] for line in output.splitlines()) == ["a", "b"]
    assert np.load(tmp_path / "out.npy").shape == (2, model["dimension"])
