"""Classification by prompts: the maths of the ensemble, and the cache of labels."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.frontend.api.messages import Matrix
from service.frontend.compute.flights import Batch
from service.frontend.core import class_labels as labels_module
from service.frontend.core.templates import TEMPLATES
from tests.service.fake_pools import DIMENSION
from tests.service.running import Running, pictures, running
from worker.runtime.notices import Modality
from worker.spec import ALL_LANGUAGES

FILES = pictures(3)
IMAGES = [pb.Image(content=file) for file in FILES]
LABELS = ["cat", "dog", "car", "tree", "house"]
OPTIONS = "logit_scale=10"


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running(options=OPTIONS) as made:
        yield made


async def embedded(service: Running, texts: list[str]) -> Matrix:
    answer = await service.call("EmbedText", pb.EmbedTextRequest(texts=texts))
    return np.frombuffer(answer.embeddings.data, "<f4").reshape(len(texts), DIMENSION)


async def expected(service: Running, labels: list[str], templates: list[str]) -> Matrix:
    """Probabilities [images, labels], computed as the page of the model says."""
    columns = []
    for label in labels:
        rows = await embedded(service, [template.replace("{}", label) for template in templates])
        mean = rows.mean(axis=0)
        columns.append(mean / np.linalg.norm(mean))
    answer = await service.call("EmbedImage", pb.EmbedImageRequest(images=IMAGES))
    images = np.frombuffer(answer.embeddings.data, "<f4").reshape(len(IMAGES), DIMENSION)
    powers = np.exp(10.0 * images @ np.stack(columns).T)
    probabilities: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def request(**rest: object) -> pb.ClassifyImageRequest:
    return pb.ClassifyImageRequest(**{"images": IMAGES, "labels": LABELS, **rest})  # type: ignore[arg-type]


def found(answer: pb.ClassifyImageResponse) -> Matrix:
    return np.array([[label.probability for label in result.labels] for result in answer.results], np.float32)


@pytest.mark.parametrize("templates", [["{}"], ["a {}", "the {} there", "{}"]])
async def test_labels_are_averaged_over_the_templates(service: Running, templates: list[str]) -> None:
    answer = await service.call("ClassifyImage", request(templates=templates))
    np.testing.assert_allclose(found(answer), await expected(service, LABELS, templates), atol=1e-5)
    first = answer.results[0].labels
    assert [label.label for label in first] == LABELS
    assert [label.index for label in first] == list(range(5))


@pytest.mark.parametrize("language", ["", *ALL_LANGUAGES])
async def test_a_language_picks_its_ensemble(service: Running, language: str) -> None:
    answer = await service.call("ClassifyImage", request(language=language))
    templates = list(TEMPLATES[language or "en"])
    np.testing.assert_allclose(found(answer), await expected(service, LABELS, templates), atol=1e-5)


async def test_top_k_cuts_after_the_softmax(service: Running) -> None:
    everything = await service.call("ClassifyImage", request())
    for top_k in (2, 5, 99):
        answer = await service.call("ClassifyImage", request(top_k=top_k))
        for whole, cut in zip(everything.results, answer.results, strict=True):
            best = sorted(whole.labels, key=lambda label: -label.probability)[:top_k]
            assert list(cut.labels) == best


async def test_known_labels_are_not_embedded_again_and_give_the_same_bytes(service: Running) -> None:
    first = await service.call("ClassifyImage", request())
    texts = [item for item in service.pool.computed if item.modality is Modality.TEXT]
    assert len(texts) == len(LABELS) * len(TEMPLATES["en"])
    service.pool.computed.clear()
    again = await service.call("ClassifyImage", request(labels=[*LABELS[::-1]]))
    assert {item.modality for item in service.pool.computed} == {Modality.IMAGE}
    for one, other in zip(first.results, again.results, strict=True):
        assert {label.label: label.probability for label in one.labels} == pytest.approx(
            {label.label: label.probability for label in other.labels}, abs=1e-7
        )
    assert service.metrics.cache_lookups.value("miss") == 5
    assert service.metrics.cache_lookups.value("hit") == 5


async def test_other_templates_and_other_weights_are_other_labels(service: Running) -> None:
    await service.call("ClassifyImage", request())
    await service.call("ClassifyImage", request(templates=["{}"]))
    service.pool.weights_sha256 = "f" * 64
    await service.call("ClassifyImage", request())
    assert service.metrics.cache_lookups.value("hit") == 0


async def test_repeated_labels_are_embedded_once_and_score_alike(service: Running) -> None:
    answer = await service.call("ClassifyImage", request(labels=["cat", "cat", "dog"], templates=["{}"]))
    assert len([item for item in service.pool.computed if item.modality is Modality.TEXT]) == 2
    cat, same, _ = answer.results[0].labels
    assert cat.probability == same.probability


async def test_labels_and_templates_may_hold_braces(service: Running) -> None:
    answer = await service.call("ClassifyImage", request(labels=["{0}", "{}", "a}{b"], templates=["{x} {}"]))
    assert [label.label for label in answer.results[0].labels] == ["{0}", "{}", "a}{b"]


async def test_labels_whose_prompts_are_cut_are_reported(service: Running) -> None:
    long = "word " * 30
    for _ in range(2):  # computed, then from the cache
        answer = await service.call("ClassifyImage", request(labels=["cat", long, "dog"]))
        assert list(answer.truncated) == [1]


async def test_templates_and_labels_that_make_too_much_text_together_are_refused(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = [f"{number} {{}}" + "x" * 100 for number in range(5)]
    request = pb.ClassifyImageRequest(images=IMAGES, labels=LABELS, templates=templates)
    together = 25 * 104 + 5 * sum(map(len, LABELS))
    monkeypatch.setattr(labels_module, "MOST_CHARACTERS", together)
    assert len((await service.call("ClassifyImage", request)).results) == 3
    monkeypatch.setattr(labels_module, "MOST_CHARACTERS", together - 1)
    refused = await service.refusal("ClassifyImage", request)
    assert (refused.code, refused.paths) == ("INVALID_ARGUMENT", ["templates"])


async def test_labels_that_would_fill_the_memory_once_for_each_image_are_refused(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels_module, "MOST_REPEATED", 3 * 2 * 1000)
    two, three = ["é" * 500] * 2, ["é" * 500] * 3
    request = pb.ClassifyImageRequest(images=IMAGES, labels=two, templates=["{}"])
    assert len((await service.call("ClassifyImage", request)).results) == 3
    request = pb.ClassifyImageRequest(images=IMAGES, labels=three, templates=["{}"])
    refused = await service.refusal("ClassifyImage", request)
    assert (refused.code, refused.paths) == ("INVALID_ARGUMENT", ["labels"])
    request.top_k = 2
    assert len((await service.call("ClassifyImage", request)).results[0].labels) == 2


async def test_many_labels_go_to_the_worker_in_parts(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels_module, "PROMPTS_AT_ONCE", 20)
    labels = [f"label {number}" for number in range(50)]
    answer = await service.call("ClassifyImage", request(labels=labels, templates=["{}", "a {}", "the {}"]))
    np.testing.assert_allclose(
        found(answer), await expected(service, labels, ["{}", "a {}", "the {}"]), atol=1e-5
    )


FIFTY = [f"label {number}" for number in range(50)]
THREE = ["{}", "a {}", "the {}"]
"""With them, 150 prompts: more than are in the queue at a time in the tests below."""


async def test_every_prompt_counts_in_the_quota_though_few_are_in_the_queue_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labels_module, "PROMPTS_AT_ONCE", 20)
    key = (("authorization", "Bearer secret"),)
    files = {API_KEYS: line_of("search", "secret", ("items=1/h",)).encode()}
    async with running(api_keys="/keys", files=files, callers=["search"]) as service:
        await service.call("ClassifyImage", request(labels=FIFTY, templates=THREE), metadata=key)
        refused = await service.refusal("EmbedText", pb.EmbedTextRequest(texts=["a"]), metadata=key)
        assert refused.reason == "QUOTA_EXCEEDED"
        # 150 prompts and 3 pictures, at one an hour; the wait that is told is up to a quarter longer.
        assert 152 * 3600 <= refused.retry_seconds <= 1.25 * 153 * 3600


async def test_every_prompt_counts_in_the_time_that_a_call_needs(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels_module, "PROMPTS_AT_ONCE", 20)
    admission = service.server.core.model("").admission
    admission.observe(Batch(Modality.TEXT, items=10, of=10, fill=1.0, seconds=100.0, wait=0.0))
    everything = request(labels=FIFTY, templates=THREE)
    # A text takes 10 s: 20 of them would be in time, 150 are not.
    refused = await service.refusal("ClassifyImage", everything, timeout=1000)
    assert refused.reason == "DEADLINE_TOO_SHORT"
    assert (service.pool.computed, admission.in_flight) == ([], 0)
    await service.call("ClassifyImage", everything, timeout=3000)
    # Now they are known, and cost nothing.
    await service.call("ClassifyImage", everything, timeout=1000)
