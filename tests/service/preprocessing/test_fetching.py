"""What is kept of fetched pictures. (Fetching itself is tested in tests/faults/hostile_input.)"""

from __future__ import annotations

from service.frontend.preprocessing.fetching import CACHE_SECONDS, Cache


def test_a_content_is_kept_for_a_minute() -> None:
    cache = Cache(1000)
    cache.put("a", b"picture", now=100.0)
    assert cache.get("a", now=100.0 + CACHE_SECONDS - 0.1) == b"picture"
    assert cache.get("a", now=100.0 + CACHE_SECONDS) is None
    assert cache.get("a", now=100.0) is None, "it was forgotten, and not only hidden"


def test_a_content_over_a_quarter_of_the_bytes_is_not_kept_and_the_older_one_is_forgotten() -> None:
    cache = Cache(1000)
    cache.put("a", b"x" * 250, now=0.0)
    assert cache.get("a", now=0.0) == b"x" * 250
    cache.put("a", b"x" * 251, now=0.0)
    assert cache.get("a", now=0.0) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(1000)
    for address in "abcd":
        cache.put(address, b"x" * 250, now=0.0)
    cache.get("a", now=1.0)
    cache.put("e", b"x" * 250, now=1.0)
    assert [address for address in "abcde" if cache.get(address, now=1.0)] == ["a", "c", "d", "e"]
