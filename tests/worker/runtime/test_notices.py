"""The notices, over a real socket pair."""

from __future__ import annotations

import math
import socket

import pytest

from worker.runtime.notices import (
    Request,
    Result,
    pack_requests,
    pack_results,
    receive,
    unpack_requests,
    unpack_results,
)


def test_notices_come_out_as_they_went_in_however_many() -> None:
    requests = [Request(2**40 + i, 1.5, math.inf, i, 77, 1, 0, 1) for i in range(5000)]
    results = [Result(i, 0.25, 0.5, 64, 2) for i in range(5000)]
    assert [one for packet in pack_requests(requests) for one in unpack_requests(packet)] == requests
    assert [one for packet in pack_results(results) for one in unpack_results(packet)] == results


def test_a_peer_that_is_gone_is_a_connection_error_and_silence_is_none() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        assert receive(ours) is None
        theirs.close()
        with pytest.raises(ConnectionError):
            receive(ours)
