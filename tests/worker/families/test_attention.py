"""Attention of a CPU in bfloat16, two plain products where there are many keys, against float32's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from worker.families.altclip.layers import MANY_KEYS, Sequences, attend
from worker.families.altclip.packing import Group

Rows = tuple[Tensor, Tensor, Tensor]
HEADS, WIDTH, COUNT = 4, 64, 3
MEAN_COSINE, LEAST_COSINE = 0.9999, 0.999
"""Of one layer's mixed values, means of many and so short beside what is rounded. torch's own kernel comes to
0.99999 and 0.9998; of whole models' embeddings test_rounded.py holds the bounds."""


def images(length: int, spare: int = 0) -> Sequences:
    """As many sequences of that length; the last `spare` rows of each ask and are not asked."""
    return Sequences((Group(0, 0, COUNT, length, length - spare),))


def projected(length: int) -> Rows:
    """Queries, keys and values; the scores spread about as far as those of a trained model."""
    generator = torch.Generator().manual_seed(length)
    rows = torch.randn(COUNT * length, 3 * WIDTH, generator=generator)
    query, key, value = rows.chunk(3, dim=1)
    return 2 * query, key, value


def narrowed(rows: Rows) -> Rows:
    query, key, value = rows
    return query.bfloat16(), key.bfloat16(), value.bfloat16()


def assert_near(rows: Tensor, exact: Tensor) -> None:
    cosines = cosine_similarity(rows.float(), exact.float())
    assert cosines.mean() >= MEAN_COSINE
    assert cosines.min() >= LEAST_COSINE


@pytest.mark.parametrize("length", [MANY_KEYS - 1, MANY_KEYS, 257])
@pytest.mark.parametrize("spare", [0, 1])
def test_bfloat16_is_near_to_float32(length: int, spare: int) -> None:
    rows = projected(length)
    exact = attend(*rows, images(length, spare), HEADS)
    narrow = attend(*narrowed(rows), images(length, spare), HEADS)
    assert narrow.dtype == torch.bfloat16
    assert_near(narrow, exact)


def test_rows_of_float32_may_have_their_attention_in_bfloat16() -> None:
    rows = projected(257)
    exact = attend(*rows, images(257), HEADS)
    kept = [part.clone() for part in rows]
    beside = attend(*rows, images(257), HEADS, dtype=torch.bfloat16)
    assert beside.dtype == torch.float32
    assert not torch.equal(beside, exact)
    assert_near(beside, exact)
    assert all(map(torch.equal, rows, kept))


def test_few_keys_keep_the_rows_own_numbers() -> None:
    rows = projected(MANY_KEYS - 1)
    exact = attend(*rows, images(MANY_KEYS - 1), HEADS)
    assert torch.equal(attend(*rows, images(MANY_KEYS - 1), HEADS, dtype=torch.bfloat16), exact)


def test_the_first_row_alone_asks_as_it_does_among_others() -> None:
    query, key, value = narrowed(projected(257))
    every = attend(query, key, value, images(257), HEADS)[::257]
    firsts = attend(query[::257].contiguous(), key, value, images(257), HEADS, first_only=True)
    assert_near(firsts, every)
