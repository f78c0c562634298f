"""The figures: small examples worked out by hand, equal scores, and LAION's own functions on the same
embeddings."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from altclip.evaluate import metrics

Array = npt.NDArray[Any]


def at_angles(*degrees: float) -> Array:
    """Unit vectors in the plane: their cosines can be read off."""
    return np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees], np.float32)


def random_set(seed: int, images: int, texts: int, dimension: int = 24) -> tuple[Array, Array, Array]:
    """Images, texts near their own image, and owners in an order of no kind."""
    random = np.random.default_rng(seed)
    owners = random.permutation(
        np.concatenate([np.arange(images), random.integers(0, images, texts - images)])
    )
    pictures = random.normal(size=(images, dimension)).astype(np.float32)
    return (
        pictures,
        (pictures[owners] + 2 * random.normal(size=(texts, dimension))).astype(np.float32),
        owners,
    )


def test_ranks_of_three_images_and_four_captions() -> None:
    images = at_angles(0, 40, 90)
    texts = at_angles(10, 50, 30, 100)
    owners = np.array([0, 0, 1, 2])
    to_image, to_text = metrics.retrieval_ranks(images, texts, owners)
    # The text at 10° is nearest to its image at 0°; that at 50° has those at 40° and 90° before it.
    assert to_image.worst.tolist() == [1, 3, 1, 1]
    # The image at 40° has its own text at 30° and another's at 50° equally far: a tie, which is lost.
    assert to_text.worst.tolist() == [1, 2, 1]
    assert to_text.best.tolist() == [1, 1, 1]
    assert to_image.recall_at(1) == 3 / 4
    assert to_text.recall_at(1) == pytest.approx(2 / 3)
    assert to_text.undecided_at(1) == 1


def test_several_captions_of_an_image_count_once_for_the_image_and_one_by_one_for_the_texts() -> None:
    images = at_angles(0, 90)
    # Image 0 owns the first four, three of which are nearer to image 1.
    texts = at_angles(5, 85, 80, 75, 95)
    to_image, to_text = metrics.retrieval_ranks(images, texts, np.array([0, 0, 0, 0, 1]))
    assert to_image.recall_at(1) == 2 / 5
    # The texts at 85° and 95° are equally near to the image at 90°, and one of them is the other image's.
    assert to_text.recall_at(1) == 1 / 2


def test_an_image_does_not_tie_with_its_own_captions() -> None:
    to_image, to_text = metrics.retrieval_ranks(at_angles(0, 90), at_angles(0, 0, 90), np.array([0, 0, 1]))
    assert to_text.worst.tolist() == [1, 1]
    assert to_image.worst.tolist() == [1, 1, 1]


def test_a_model_that_embeds_everything_alike_finds_nothing_and_all_of_it_is_undecided() -> None:
    same = np.ones((20, 6), np.float32)
    for ranks in metrics.retrieval_ranks(same, same, np.arange(20)):
        assert ranks.recall_at(10) == 0
        assert ranks.undecided_at(10) == 20
    by_label = metrics.label_ranks(same, same[:7], np.zeros(20, np.int64))
    assert by_label.recall_at(1) == 0
    assert metrics.mean_per_class_recall(by_label, np.zeros(20, np.int64)) == 0


def test_scores_that_float32_cannot_tell_apart_are_equal() -> None:
    image = np.array([[1, 0]], np.float32)
    noisy = np.array([[1, 0], [1, 2e-5]], np.float32)  # cosines 1 and 1 - 2e-10
    _, to_text = metrics.retrieval_ranks(np.concatenate([image, image]), noisy, np.array([0, 1]))
    assert (to_text.best.tolist(), to_text.worst.tolist()) == ([1, 1], [2, 2])


def test_recall_beyond_the_number_of_candidates_is_not_defined() -> None:
    to_image, to_text = metrics.retrieval_ranks(at_angles(0, 90, 180), at_angles(0, 90, 180), np.arange(3))
    assert [to_image.recall_at(k) for k in metrics.RECALL_AT] == [1.0, None, None]
    assert metrics.mean_recall([to_text.recall_at(k) for k in metrics.RECALL_AT]) == 1.0
    assert metrics.mean_recall([None]) is None


def test_length_does_not_matter_and_zeros_are_nothing() -> None:
    images, texts, owners = random_set(1, 30, 60)
    scaled = metrics.retrieval_ranks(images * 7, texts * np.arange(1, 61)[:, None], owners)
    for plain, other in zip(metrics.retrieval_ranks(images, texts, owners), scaled, strict=True):
        assert plain.worst.tolist() == other.worst.tolist()
    assert not metrics.normalized(np.zeros((2, 3))).any()


@pytest.mark.parametrize("seed", range(3))
def test_blocks_give_what_the_whole_matrix_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "QUERY_BLOCK", 7)
    monkeypatch.setattr(metrics, "CANDIDATE_BLOCK", 5)
    images, texts, owners = random_set(seed, 33, 101)
    to_image, to_text = metrics.retrieval_ranks(images, texts, owners)
    scores = metrics.normalized(texts) @ metrics.normalized(images).T
    own = scores[np.arange(101), owners]
    assert to_image.worst.tolist() == ((scores > own[:, None]).sum(1) + 1).tolist()
    best = [scores[owners == i, i].max() for i in range(33)]
    assert to_text.worst.tolist() == ((scores > np.array(best)).sum(0) + 1).tolist()


def test_an_image_without_a_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="every image owns a text"):
        metrics.retrieval_ranks(at_angles(0, 90), at_angles(0), np.array([0]))


def test_a_class_is_the_normalised_mean_of_its_normalised_prompts() -> None:
    vector = metrics.class_vector(np.array([[10.0, 0], [0, 0.1]]))
    assert vector == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])


def test_classes_weigh_the_same_whatever_their_number_of_images() -> None:
    classes = at_angles(0, 90, 180)
    images = at_angles(0, 0, 0, 170)
    labels = np.array([0, 0, 0, 1])  # the last is taken for the class at 180°, which has no image
    ranks = metrics.label_ranks(images, classes, labels)
    assert ranks.worst.tolist() == [1, 1, 1, 2]
    assert ranks.recall_at(1) == 3 / 4
    assert metrics.mean_per_class_recall(ranks, labels) == 1 / 2


def laion(name: str) -> Any:
    """A module of clip-benchmark's metrics, or a skip that says what is missing."""
    try:
        return importlib.import_module(f"clip_benchmark.metrics.{name}")
    except ImportError as error:
        pytest.skip(f"needs clip-benchmark, tqdm and scikit-learn (see docs/evaluation.md): {error}")


@pytest.mark.parametrize("seed", range(4))
def test_retrieval_agrees_with_clip_benchmark(seed: int) -> None:
    theirs = laion("zeroshot_retrieval")
    import torch

    images, texts, owners = random_set(seed, 120, 500)

    class Given:
        """Their `evaluate` wants a model: this one gives the embeddings that are asked for by number."""

        def encode_image(self, rows: Any) -> Any:
            return torch.from_numpy(images)[rows]

        def encode_text(self, rows: Any) -> Any:
            return torch.from_numpy(texts)[rows]

    # Their loader wants all captions of an image beside it.
    batches = [
        (torch.arange(start, start + 40), [np.flatnonzero(owners == i) for i in range(start, start + 40)])
        for start in range(0, 120, 40)
    ]
    found = theirs.evaluate(Given(), batches, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    to_image, to_text = metrics.retrieval_ranks(images, texts, owners)
    for k in metrics.RECALL_AT:
        assert to_image.recall_at(k) == pytest.approx(found[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert to_text.recall_at(k) == pytest.approx(found[f"text_retrieval_recall@{k}"], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_classification_agrees_with_clip_benchmark(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = laion("zeroshot_classification")
    import torch

    # Their `accuracy` makes a number of an array of one element, which numpy no longer does.
    monkeypatch.setattr(theirs, "float", lambda array: array.item(), raising=False)

    random = np.random.default_rng(seed)
    prompts = random.normal(size=(12, 7, 24)).astype(np.float32)
    labels = random.integers(0, 12, 300)
    images = (prompts[labels].mean(1) + random.normal(size=(300, 24))).astype(np.float32)

    class Given:
        def encode_image(self, rows: Any) -> Any:
            return torch.from_numpy(images)[rows]

        def encode_text(self, names: Any) -> Any:
            return torch.from_numpy(prompts[int(names[0])])

    class Names(list[str]):
        """Texts that their code can move to a device."""

        def to(self, device: str) -> Names:
            return self

    class Loader:
        classes: ClassVar = [str(i) for i in range(12)]

        def __init__(self) -> None:
            self.dataset = self

        def __iter__(self) -> Any:
            return iter([(torch.arange(300), torch.from_numpy(labels))])

    found = theirs.evaluate(Given(), Loader(), Names, Loader.classes, ["{c}"] * 7, "cpu", amp=False)
    vectors = np.stack([metrics.class_vector(each) for each in prompts])
    ranks = metrics.label_ranks(images, vectors, labels)
    assert ranks.recall_at(1) == pytest.approx(found["acc1"], abs=1e-6)
    assert ranks.recall_at(5) == pytest.approx(found["acc5"], abs=1e-6)
    assert metrics.mean_per_class_recall(ranks, labels) == pytest.approx(
        found["mean_per_class_recall"], abs=1e-6
    )
