"""The shared slab, handed over a real socket pair."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from worker.families.stub import FAMILY
from worker.models.sources import resolve
from worker.runtime.notices import Modality
from worker.runtime.slab import Slab, SlabLayout, receive_slab, send_slab


def test_a_slot_holds_an_input_and_then_its_output() -> None:
    spec = resolve("m=stub:dimension=700,state_dimension=24,image_size=30,max_tokens=77")
    layout = SlabLayout.for_model(spec)
    assert spec.model_type == FAMILY.model_type
    assert layout.sizes[Modality.TEXT] >= 4 * 700
    assert layout.sizes[Modality.IMAGE] >= 3 * 30 * 30
    assert layout.sizes[Modality.PROMPT] >= 4 * 77 * 24
    assert all(size % 64 == 0 for size in layout.sizes)


def test_both_ends_see_the_same_memory_and_no_slot_touches_another() -> None:
    layout = SlabLayout((64, 128, 256), (3, 2, 2))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        slab, descriptor = Slab.create(layout)
        send_slab(ours, layout, descriptor)
        os.close(descriptor)
        other = receive_slab(theirs)
    for number, arena in enumerate(slab.bytes):
        for slot in range(len(arena)):
            arena[slot] = 10 * number + slot
    for number, arena in enumerate(other.bytes):
        for slot in range(len(arena)):
            assert (arena[slot] == 10 * number + slot).all()
    other.floats[Modality.IMAGE][1, :4] = 1.5
    assert slab.floats[Modality.IMAGE][1, 3] == np.float32(1.5)


def test_the_slab_has_no_name_and_cannot_be_resized() -> None:
    _, descriptor = Slab.create(SlabLayout((64, 64, 64), (1, 1, 1)))
    try:
        assert os.fstat(descriptor).st_nlink == 0
        assert str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/memfd:altclip")
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        assert seals & fcntl.F_SEAL_SHRINK
        assert seals & fcntl.F_SEAL_GROW
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_a_frontend_that_dies_before_it_hands_over_its_slab_is_a_connection_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        with pytest.raises(ConnectionError):
            receive_slab(ours)
