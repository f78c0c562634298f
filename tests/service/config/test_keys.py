"""API keys as lines: what is accepted, what is refused and how it is said, and how a key is found."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.keys import KeyFileError, Keyring, Quota, line_of, make_key, parse

ONE, TWO = "a-secret-of-one", "a-secret-of-two"


def test_a_line_holds_a_name_a_hash_and_limits() -> None:
    words = ("requests=120/m", "items=500/s", "concurrency=8", "models=m9,tiny")
    text = f"# callers\n\n{line_of('search', ONE, words)}   # the index\n{line_of('web', TWO)}\n"
    search, web = parse(text)
    assert search.name == "search"
    assert search.digest == hashlib.sha256(ONE.encode()).digest()
    assert search.quota == Quota(2.0, 500.0, 8, frozenset({"m9", "tiny"}))
    assert web.quota == Quota()


def test_lines_in_an_environment_variable_end_with_semicolons() -> None:
    assert [key.name for key in parse(f"{line_of('a', ONE)}; {line_of('b', TWO)};")] == ["a", "b"]


@pytest.mark.parametrize("after", ["", f"\n{line_of('c', ONE)}"])
def test_a_comment_holds_no_key_even_after_a_semicolon(after: str) -> None:
    taken_back = f"# taken back: {line_of('a', ONE)}; {line_of('b', TWO)}"
    kept = line_of("web", "a-secret-of-three")
    assert [key.name for key in parse(f"{kept}  {taken_back}{after}")] == (["web", "c"] if after else ["web"])
    with pytest.raises(KeyFileError, match="no key"):
        parse(taken_back)


def test_an_error_names_the_line_and_which_of_its_keys() -> None:
    with pytest.raises(KeyFileError, match=r"^line 2, key 2: after the name"):
        parse(f"# one; two; three\n{line_of('a', ONE)}; b; {line_of('c', TWO)}")
    with pytest.raises(KeyFileError, match=r"^line 2: after the name"):
        parse("# one; two; three\nb")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("search", "sha256:"),
        ("search sha256:12", "64 hexadecimal"),
        (f"search md5:{'0' * 64}", "sha256:"),
        (f"-x sha256:{'0' * 64}", "name"),
        (f"anonymous sha256:{'0' * 64}", "neither anonymous"),
        (line_of("a", ONE, ("requests=20",)), "rate"),
        (line_of("a", ONE, ("items=0/s",)), "rate"),
        (line_of("a", ONE, ("concurrency=0",)), "whole number"),
        (line_of("a", ONE, ("models=a,,b",)), "models="),
        (line_of("a", ONE, ("admin=yes",)), "nothing else"),
        (line_of("a", ONE, ("items=1/s", "items=2/s")), "twice"),
        (f"{line_of('a', ONE)}\n{line_of('b', ONE)}", "line 2: the same key"),
        (f"{line_of('a', ONE)}\n{line_of('a', TWO, ('items=2/s',))}", "other limits"),
        ("# nothing but words\n", "no key"),
    ],
)
def test_one_wrong_line_refuses_the_file_and_is_not_shown(line: str, said: str) -> None:
    with pytest.raises(KeyFileError, match=said) as refused:
        parse(line)
    assert hashlib.sha256(ONE.encode()).hexdigest() not in str(refused.value)


def test_a_key_is_found_by_itself_alone() -> None:
    keys = parse(f"{line_of('one', ONE)}\n{line_of('two', TWO)}")
    ring = Keyring(keys)
    found = ring.find(TWO)
    assert found is not None
    assert found.name == "two"
    for stranger in ("", "a-secret-of-tw", TWO + " ", TWO.upper(), keys[1].digest.hex(), "x" * 10_000):
        assert ring.find(stranger) is None


def test_a_caller_may_have_two_keys_while_it_changes_them() -> None:
    ring = Keyring(parse(f"{line_of('one', ONE)}\n{line_of('one', TWO)}"))
    assert {key.name for key in (ring.find(ONE), ring.find(TWO)) if key} == {"one"}
    assert set(ring.quotas) == {"one"}


def test_a_made_key_is_long_unlike_any_other_and_not_in_its_line() -> None:
    key, line = make_key("search", ("items=5/s",))
    other, _ = make_key("search")
    assert key != other
    assert len(key) >= 40
    assert key not in line
    (found,) = parse(line)
    assert Keyring((found,)).find(key) == found
    assert found.quota.items == 5.0
    assert key not in repr(found)
    assert found.digest.hex() not in repr(found)


@pytest.mark.parametrize("name", ["", "two words", "other", "x" * 65, "a\nb"])
def test_no_key_is_made_for_a_name_that_is_none(name: str) -> None:
    with pytest.raises(KeyFileError, match="a name is made of"):
        make_key(name)
    with pytest.raises(KeyFileError, match=r"^limits are"):
        make_key("search", ("rate=5",))


WORDS = st.sampled_from(
    [
        "search",
        "sha256:" + "0" * 64,
        "requests=1/s",
        "items=",
        "models=a",
        "concurrency=9",
        "#",
        ";",
        "\n",
        "=",
        " ",
    ]
)


@given(st.lists(WORDS | st.text(max_size=4), max_size=12).map(" ".join))
def test_any_text_is_keys_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except KeyFileError:
        return
    assert found
    assert Keyring(found).find("x") is None
