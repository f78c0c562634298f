"""The cache of label vectors."""

from __future__ import annotations

import numpy as np

from service.frontend.core.label_cache import LabelCache, LabelKey, LabelVector, weight


def key(label: str, revision: str = "r") -> LabelKey:
    return LabelKey("m", revision, ("a {}", "the {}"), label)


def vector(value: float = 1.0) -> LabelVector:
    return LabelVector(np.full(8, value, np.float32), False)


def test_what_was_put_is_found_under_its_own_key_alone() -> None:
    cache = LabelCache(1 << 20)
    cache.put(key("cat"), vector(3.0))
    found, other_label, other_weights = map(cache.get, [key("cat"), key("dog"), key("cat", "other")])
    assert found is not None
    assert found.vector[0] == 3.0
    assert other_label is None
    assert other_weights is None


def test_the_least_recently_used_goes_first() -> None:
    cache = LabelCache(3 * weight(key("a"), vector()))
    for label in "abc":
        cache.put(key(label), vector())
    cache.get(key("a"))
    cache.put(key("d"), vector())
    assert [cache.get(key(label)) is not None for label in "abcd"] == [True, False, True, True]


def test_it_stays_within_its_bytes() -> None:
    cache = LabelCache(10_000)
    for number in range(1000):
        cache.put(key(f"label {number}"), vector())
        assert cache.bytes <= 10_000
    assert len(cache) > 1


def test_putting_twice_counts_once() -> None:
    cache = LabelCache(10_000)
    cache.put(key("cat"), vector())
    cache.put(key("cat"), vector(2.0))
    assert len(cache) == 1
    assert cache.bytes == weight(key("cat"), vector())


def test_size_zero_keeps_nothing() -> None:
    cache = LabelCache(0)
    cache.put(key("cat"), vector())
    assert cache.get(key("cat")) is None


def test_an_entry_does_not_hold_the_matrix_it_came_from() -> None:
    cache = LabelCache(1 << 20)
    rows = np.ones((1000, 8), np.float32)
    cache.put(key("cat"), LabelVector(rows[0], False))
    entry = cache.get(key("cat"))
    assert entry is not None
    assert entry.vector.base is None
