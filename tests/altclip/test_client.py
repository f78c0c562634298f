"""What the methods of both clients send and give back."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from PIL import Image

import altclip
from altclip import Client
from altclip.v1 import embedding_service_pb2 as pb
from tests.altclip.fake_service import Failure, FakeService, RunningFake, start_fake
from tests.server import free_port


def test_texts_come_back_as_rows(client: Client, service: FakeService) -> None:
    result = client.embed_text(["a", "", "a text that is long"])
    assert result.vectors.dtype == np.float32
    np.testing.assert_array_equal(result.vectors, [[1, 1, 2, 3], [0, 1, 2, 3], [19, 1, 2, 3]])
    assert (result.token_counts, result.truncated) == ((1, 0, 19), (2,))
    assert (result.model, result.revision) == ("first", "0123456789abcdef")
    assert result.timings == altclip.Timings(queue=0.002, inference=0.03, batch_size=7)
    assert service.metadata[0]["x-request-id"] == result.request_id
    assert service.seen["EmbedText"][0].options.normalize


def test_one_text_is_one_text_and_not_its_letters(client: Client) -> None:
    assert client.embed_text("cat").vectors.shape == (1, 4)


def test_options_reach_the_server(client: Client, service: FakeService) -> None:
    client.embed_text(
        "a",
        model="m",
        encoding="int8",
        normalize=False,
        truncation="reject",
        priority="bulk",
        request_id="me",
    )
    (request,) = service.seen["EmbedText"]
    assert request == pb.EmbedTextRequest(
        model="m",
        texts=["a"],
        options=pb.EmbeddingOptions(
            encoding=pb.ENCODING_INT8,
            normalize=False,
            truncation=pb.TRUNCATION_REJECT,
            orientation=pb.ORIENTATION_AS_STORED,
        ),
        priority=pb.PRIORITY_BULK,
    )
    assert service.metadata[0]["x-request-id"] == "me"


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_every_encoding_is_decoded(client: Client, encoding: Any) -> None:
    result = client.embed_text(["ab", "x" * 9], encoding=encoding)
    expected = np.array([[2, 1, 2, 3], [9, 1, 2, 3]], np.float32)
    assert result.embeddings.encoding == encoding
    if encoding == "binary":
        assert result.embeddings.codes.shape == (2, 1)
        np.testing.assert_array_equal(result.vectors, np.ones((2, 4)))
        assert result.embeddings.bits.all()
    else:
        np.testing.assert_allclose(result.vectors, expected, atol=9 / 127)
    assert result.vectors.dtype == np.float32


def test_pictures_may_be_bytes_files_pillow_images_or_addresses(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (3, 2), (10, 20, 30))
    file = tmp_path / "picture.bin"
    file.write_bytes(b"12345")
    result = client.embed_image([b"123", file, picture, altclip.Uri("data:image/png;base64,AA==")])
    assert result.vectors.shape == (4, 4)
    (request,) = service.seen["EmbedImage"]
    assert [image.content for image in request.images[:2]] == [b"123", b"12345"]
    sent = Image.open(io.BytesIO(request.images[2].content))
    assert list(sent.get_flattened_data()) == list(picture.get_flattened_data())
    assert request.images[3].uri == "data:image/png;base64,AA=="


def test_a_str_is_never_a_picture(client: Client) -> None:
    with pytest.raises(TypeError, match=r"a file name is a pathlib\.Path"):
        client.embed_image("cat.png")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"images\[0\]: a picture is bytes, .* not float"):
        client.embed_image([1.5])  # type: ignore[list-item]
    with pytest.raises(FileNotFoundError):
        client.embed_image(Path("/nowhere/cat.png"))


def test_a_comparison_mixes_texts_pictures_and_vectors(client: Client, service: FakeService) -> None:
    vector = np.array([1.0, 2.0, 3.0, 4.0])
    result = client.similarity(["a", b"png"], [vector, "b", "c"], score="probability")
    np.testing.assert_array_equal(result.scores, [[0, 1, 2], [10, 11, 12]])
    assert (result.indices, result.logit_scale, result.truncated) == (None, 100.0, (1,))
    (request,) = service.seen["Similarity"]
    assert (request.queries[0].text, request.queries[1].image.content) == ("a", b"png")
    np.testing.assert_array_equal(np.frombuffer(request.candidates[0].vector, "<f4"), vector)
    assert request.score == pb.SCORE_PROBABILITY


def test_the_best_candidates_come_with_their_indices(client: Client) -> None:
    result = client.similarity("a", ["b", "c", "d"], top_k=2)
    assert result.scores.shape == (1, 2)
    np.testing.assert_array_equal(result.indices, [[0, 1]])


def test_the_rows_of_a_matrix_are_items(client: Client, service: FakeService) -> None:
    client.similarity(np.eye(4), "a")
    assert len(service.seen["Similarity"][0].queries) == 4


def test_pictures_are_classified_by_labels_of_ones_own(client: Client, service: FakeService) -> None:
    result = client.classify([b"1", b"2"], ["猫", "狗"], language="zh", templates=["{}的照片"], top_k=2)
    assert result.results[1] == (altclip.LabelScore("猫", 0, 0.5), altclip.LabelScore("狗", 1, 0.5))
    (request,) = service.seen["ClassifyImage"]
    assert (request.language, list(request.templates), request.top_k) == ("zh", ["{}的照片"], 2)


@pytest.mark.parametrize("encoding", ["float32", "float16"])
def test_prompts_become_states_of_every_token(client: Client, encoding: Any) -> None:
    result = client.encode_prompt(["ab", ""], encoding=encoding, states="altclip")
    assert (result.states.shape, result.states.dtype) == ((2, 77, 6), np.dtype(encoding))
    assert result.attention_mask.sum(axis=1).tolist() == [4, 2]


def test_models_and_their_limits_are_told(client: Client) -> None:
    first, second = client.list_models()
    assert (first.name, second.name, first.languages) == ("first", "second", ("en", "zh"))
    assert (first.aliases, second.aliases) == (("first-clip",), ("second-clip",))
    assert client.get_model("second").limits.max_texts == 50


def test_the_orientation_reaches_the_server(client: Client, service: FakeService) -> None:
    for orientation, value in (("as_stored", pb.ORIENTATION_AS_STORED), ("upright", pb.ORIENTATION_UPRIGHT)):
        chosen: Any = {"orientation": orientation}
        client.embed_image(b"1", **chosen)
        client.similarity(b"1", "a", **chosen)
        client.classify(b"1", ["a"], **chosen)
        list(client.embed_stream([b"1"], **chosen))
        assert service.seen["EmbedImage"][-1].options.orientation == value
        assert service.seen["Similarity"][-1].orientation == value
        assert service.seen["ClassifyImage"][-1].orientation == value
        assert service.seen["EmbedStream"][-1].config.options.orientation == value
    with pytest.raises(altclip.InvalidArgument, match="orientation: 'sideways' is none of as_stored"):
        client.embed_image(b"1", orientation="sideways")  # type: ignore[arg-type]


class TestSplitCalls:
    """More elements than the server takes at once."""

    def test_order_and_indices_are_those_of_the_whole(self, client: Client, service: FakeService) -> None:
        texts = ["x" * (i % 90) + ("long" if i % 60 == 59 else "") for i in range(170)]
        result = client.embed_text(texts)
        assert result.vectors[:, 0].tolist() == [len(text) for text in texts]
        assert result.token_counts == tuple(len(text) for text in texts)
        assert result.truncated == (59, 119)
        assert sorted(len(request.texts) for request in service.seen["EmbedText"]) == [20, 50, 50, 50]
        assert {metadata["x-request-id"] for metadata in service.metadata[1:]} == {result.request_id}

    def test_large_pictures_are_split_by_their_bytes(self, client: Client, service: FakeService) -> None:
        client.embed_image([bytes(900_000)] * 5)
        assert sorted(len(request.images) for request in service.seen["EmbedImage"]) == [1, 2, 2]

    def test_limits_are_asked_for_once(self, client: Client, service: FakeService) -> None:
        client.embed_text(["a"] * 40)
        client.embed_text(["a"] * 40)
        client.embed_text(["a"])
        assert len(service.seen["GetModel"]) == 1

    def test_int8_rows_keep_their_scales(self, client: Client) -> None:
        result = client.embed_text(["x" * (1 + i) for i in range(120)], encoding="int8")
        np.testing.assert_allclose(result.vectors[:, 0], np.arange(1, 121), rtol=0.01)

    def test_an_error_names_the_element_of_the_whole_call(self, client: Client, service: FakeService) -> None:
        failure = Failure(
            grpc.StatusCode.INVALID_ARGUMENT,
            "TEXT_TOO_LONG",
            "texts[3] is too long",
            fields=[("texts[3]", "too long")],
        )
        service.failures["EmbedText"] = [failure] * 2
        with pytest.raises(altclip.TextTooLong) as caught:
            client.embed_text(["a"] * 100)
        assert caught.value.fields[0].field in ("texts[3]", "texts[53]")
        assert caught.value.fields[0].field in caught.value.message

    def test_vectors_of_two_revisions_are_never_mixed(self, client: Client, service: FakeService) -> None:
        service.revisions = ["", "aaaa", "bbbb"]  # the first answers GetModel
        with pytest.raises(altclip.RevisionChanged, match="aaaa to bbbb"):
            client.embed_text(["a"] * 100)

    def test_a_revision_that_is_not_known_yet_is_no_other(self, client: Client, service: FakeService) -> None:
        service.revisions = ["", "", "aaaa"]
        assert client.embed_text(["a"] * 100).revision == "aaaa"


def test_an_empty_call_is_judged_by_the_server(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", fields=[("texts", "empty")])
    ]
    with pytest.raises(altclip.InvalidRequest):
        client.embed_text([])


def test_the_key_travels_as_a_bearer_token(fake: RunningFake, make_client: Any) -> None:
    make_client(fake.address, api_key="secret").embed_text("a")
    assert fake.service.metadata[0]["authorization"] == "Bearer secret"


class TestHealth:
    def test_health_is_told_for_all_and_for_one_model(self, fake: RunningFake, client: Client) -> None:
        assert client.health() == "SERVING"
        fake.health.set("altclip.v1.EmbeddingService/m", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert client.health("m") == "NOT_SERVING"
        assert client.health("unheard-of") == "SERVICE_UNKNOWN"

    def test_waiting_ends_when_the_model_is_ready(self, fake: RunningFake, client: Client) -> None:
        fake.health.set("altclip.v1.EmbeddingService", health_pb2.HealthCheckResponse.NOT_SERVING)
        serving = ("altclip.v1.EmbeddingService", health_pb2.HealthCheckResponse.SERVING)
        later = threading.Timer(0.3, fake.health.set, serving)
        later.start()
        client.wait_until_ready(timeout=60)
        later.join()

    def test_waiting_begins_before_the_server_does(self, make_client: Any) -> None:
        address = f"127.0.0.1:{free_port()}"
        started: list[RunningFake] = []
        later = threading.Timer(0.5, lambda: started.append(start_fake(address)))
        later.start()
        make_client(address).wait_until_ready(timeout=60)
        later.join()
        started[0].stop()

    def test_waiting_has_an_end(self, fake: RunningFake, client: Client) -> None:
        fake.health.set("altclip.v1.EmbeddingService", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert client.health() == "NOT_SERVING"  # there is a connection: what is left is to hear it once more
        with pytest.raises(altclip.DeadlineExceeded, match="NOT_SERVING"):
            client.wait_until_ready(timeout=2)
