"""What is kept, and what goes first."""

from __future__ import annotations

from service.frontend.compute.lru import Lru


def letters(most_bytes: int) -> Lru[str, str]:
    return Lru(most_bytes, lambda key, value: len(key) + len(value))


def test_the_least_recently_used_goes_first() -> None:
    kept = letters(6)
    for key in "abc":
        kept.put(key, "1")
    kept.get("a")
    kept.put("d", "1")
    assert [key for key in "abcd" if kept.get(key) is not None] == ["a", "c", "d"]


def test_it_stays_within_its_bytes() -> None:
    kept = letters(100)
    for number in range(1000):
        kept.put(str(number), "x" * (number % 40))
        assert kept.bytes <= 100
    assert len(kept) > 1


def test_what_alone_is_too_large_displaces_nothing() -> None:
    kept = letters(10)
    kept.put("a", "1")
    kept.put("b", "x" * 10)
    assert kept.get("b") is None
    assert kept.get("a") == "1"


def test_putting_twice_counts_once() -> None:
    kept = letters(10)
    kept.put("a", "1")
    kept.put("a", "22")
    assert (len(kept), kept.bytes, kept.get("a")) == (1, 3, "22")


def test_what_is_dropped_leaves_its_bytes() -> None:
    kept = letters(10)
    kept.put("a", "1")
    kept.drop("a")
    kept.drop("b")
    assert (len(kept), kept.bytes, kept.get("a")) == (0, 0, None)


def test_size_zero_keeps_nothing() -> None:
    kept = letters(0)
    kept.put("", "1")
    assert kept.get("") is None
