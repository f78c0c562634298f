"""Which addresses of pictures may be fetched: one strict reading, and what counts as outside."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from service.frontend.preprocessing.addresses import NotAllowed, Rules, Target, is_public, is_web

WEB = Rules(frozenset({("https", 443), ("http", 80)}))

INSIDE = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1
    198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:100.64.0.1 ::ffff:0:7f00:1
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 100::1 2001::1 2001:db8::1 2001:10::1
    2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%lo fec0::1 ff02::1
    2606:4700::1111%eth0
"""
OUTSIDE = """
    1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.32.0.1 192.0.1.1 223.255.255.254 ::ffff:8.8.8.8
    64:ff9b::808:808 2606:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_inside_is_inside_whatever_it_is_wrapped_in(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE.split())
def test_the_internet_is_outside(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("https://images.example.com/a.png", "https://images.example.com:443/a.png"),
        ("HTTP://Images.Example.COM./a?b=%20c&d#e", "http://images.example.com:80/a?b=%20c&d"),
        ("https://a.example:8443", "https://a.example:8443/"),
        ("https://a.example?x=/y", "https://a.example:443/?x=/y"),
        ("https://a.example/кот.png", "https://a.example:443/%D0%BA%D0%BE%D1%82.png"),
        ("http://8.8.8.8/", "http://8.8.8.8:80/"),
        ("http://[2606:4700::1111]:81/", "http://[2606:4700::1111]:81/"),
        ("http://a_b.example-c.com/@x", "http://a_b.example-c.com:80/@x"),
    ],
)
def test_a_plain_address_is_read_and_written_anew(uri: str, read: str) -> None:
    assert Target.read(uri).uri == read
    assert is_web(uri)


NOT_PLAIN = [
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.0x1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://1.2.3.4.5/",
    "http://a.example.0x/",
    "http://localhost/",
    "http://metadata/",
    "http://user@a.example/",
    "http://user:word@a.example/",
    "http://a.example@127.0.0.1/",
    "http://a.example\\@127.0.0.1/",
    "http://a.example\\.evil.example/",
    "http://127。0。0。1/",
    "http://１２７.0.0.1/",
    "http://exämple.com/",
    "http://a%2eexample.com/",
    "http://a..example/",
    "http://-a.example/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://[::1]x/",
    "http:///a",
    "http:a.example/",
    "http://a.example:/",
    "http://a.example:0/",
    "http://a.example:080/",
    "http://a.example:65536/",
    "http://a.example:８０/",
    "http://a.example/a b\r\nX: y",
    "http://a.example/\x00",
    " http://a.example/",
    "ftp://a.example/",
    "file:///etc/passwd",
    "gopher://a.example/",
    "//a.example/",
    "",
    f"http://{'a' * 64}.example/",
    f"http://{'a.' * 130}example/",
    f"http://a.example/{'a' * 5000}",
]


@pytest.mark.parametrize("uri", NOT_PLAIN)
def test_what_is_not_plain_is_not_read(uri: str) -> None:
    with pytest.raises(NotAllowed):
        Target.read(uri)


@pytest.mark.parametrize(
    "uri", ["http://a.example:443/", "https://a.example:80/", "https://a.example:8443/", "http://10.0.0.1/"]
)
def test_other_ports_and_inside_addresses_are_not_allowed(uri: str) -> None:
    with pytest.raises(NotAllowed):
        WEB.check(Target.read(uri))


def test_hosts_may_be_limited() -> None:
    rules = Rules(WEB.origins, ("images.example.com", "*.cdn.example"))
    rules.check(Target.read("https://images.example.com/"))
    rules.check(Target.read("https://a.b.cdn.example/"))
    for host in ("cdn.example", "evilcdn.example", "example.com", "x.images.example.com", "8.8.8.8"):
        with pytest.raises(NotAllowed):
            rules.check(Target.read(f"https://{host}/"))


def test_a_redirect_is_read_as_strictly() -> None:
    start = Target.read("https://a.example/x/y.png?z")
    assert start.redirected("../b.png").uri == "https://a.example:443/b.png"
    assert start.redirected("//b.example/c").uri == "https://b.example:443/c"
    assert start.redirected("http://b.example").uri == "http://b.example:80/"
    for location in ("http://0x7f000001/", "file:///etc/passwd", "http://[::1", "//user@b.example/"):
        with pytest.raises(NotAllowed):
            start.redirected(location)


PIECES = st.sampled_from(
    (
        *"/\\@:#?%[].。１& \t\r\n\x00é",
        "http://",
        "https://",
        "HTTP:",
        "//",
        "..",
        ":80",
        "%2e",
        "%00",
        "user",
        "127.0.0.1",
        "2130706433",
        "0x7f",
        "0177",
        "::1",
        "::ffff:1.2.3.4",
        "a.example",
        "xn--p1ai",
        "localhost",
    )
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join))
def test_whatever_is_read_is_dialled_where_it_was_checked(tail: str) -> None:
    """The client's own parser must find the same host and port in what we hand to it, and nothing else."""
    for uri in (tail, f"http://{tail}", f"http://a.example{tail}"):
        try:
            target = Target.read(uri)
        except NotAllowed:
            continue
        url = URL(target.uri, encoded=True)
        assert (url.scheme, url.raw_host, url.port) == (target.scheme, target.host, target.port)
        assert (url.user, url.password, url.fragment) == (None, None, "")
        assert url.raw_path_qs.isascii()
        assert url.raw_path_qs.isprintable()
        assert " " not in url.raw_path_qs
        assert Target.read(target.uri) == target, "read again it is the same"
