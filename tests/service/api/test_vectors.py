"""The maths of scores."""

from __future__ import annotations

import numpy as np

from service.frontend.api.messages import Matrix, Scores
from service.frontend.api.vectors import best, normalized, scores


def unit(*shape: int, seed: int = 0) -> Matrix:
    return normalized(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_logits_are_cosines_times_the_scale() -> None:
    queries, candidates = unit(3, 8), unit(5, 8, seed=1)
    cosines = scores(queries, candidates, Scores.COSINE, 50.0)
    np.testing.assert_allclose(cosines, queries @ candidates.T, atol=1e-6)
    np.testing.assert_allclose(scores(queries, candidates, Scores.LOGIT, 50.0), cosines * 50, atol=1e-4)


def test_probabilities_of_a_query_sum_to_one_even_at_a_huge_scale() -> None:
    rows = scores(unit(3, 8), unit(500, 8, seed=1), Scores.PROBABILITY, 1e6)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-6)
    assert np.isfinite(rows).all()


def test_a_vector_and_itself_score_no_more_than_one() -> None:
    row = unit(1, 768)
    assert scores(row, row, Scores.COSINE, 1.0).max() <= 1.0


def test_the_same_vector_scores_the_same_wherever_it_stands() -> None:
    candidates = unit(300, 768)
    candidates[[0, 7, 133, 299]] = candidates[150]
    for row in scores(unit(9, 768, seed=2), candidates, Scores.COSINE, 100.0):
        assert len({row[index] for index in (0, 7, 133, 150, 299)}) == 1


def test_top_k_puts_the_best_first_and_ties_in_the_order_of_the_candidates() -> None:
    row = np.array([0.5, 0.9, 0.5, 0.9, 0.1], np.float32)
    found = best(row, 4)
    assert found.indices is not None
    assert found.indices.tolist() == [1, 3, 0, 2]
    np.testing.assert_array_equal(found.scores, row[[1, 3, 0, 2]])


def test_top_k_zero_means_all_in_their_order_and_too_many_means_all() -> None:
    row = np.array([0.5, 0.9], np.float32)
    assert best(row, 0).indices is None
    everything = best(row, 99).indices
    assert everything is not None
    assert everything.tolist() == [1, 0]
