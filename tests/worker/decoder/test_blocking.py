"""One decoder process for a thread: it decodes as the service does, and its death costs one picture."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from tests.worker.inputs.pictures import picture, saved
from worker.decoder.blocking import Decoder
from worker.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1 << 20)
MOST_BYTES = 1 << 20


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    made = Decoder(PREPARER.to_dict(), 32, MOST_BYTES, 120.0)
    yield made
    made.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """All descriptors up to number 1,024 are taken, as in a process with very many files and connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2048:
        pytest.skip("the limit of open descriptors is too low here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] <= 1024:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def process(decoder: Decoder) -> subprocess.Popen[bytes]:
    assert decoder._process is not None
    return decoder._process


def test_a_picture_is_what_the_preparer_makes_of_it(decoder: Decoder) -> None:
    for kind in ("PNG", "JPEG"):
        content = saved(picture(), kind)
        np.testing.assert_array_equal(decoder.decode(content, upright=False), PREPARER.prepare(content))


def test_refusals_keep_their_kind_and_the_process(decoder: Decoder) -> None:
    with pytest.raises(UndecodableImage):
        decoder.decode(saved(picture(), "PNG")[:60], upright=False)
    number = process(decoder).pid
    with pytest.raises(UnsupportedImage):
        decoder.decode(b"%PDF-1.7 and more", upright=False)
    with pytest.raises(ImageTooLarge):
        decoder.decode(saved(picture(width=2000, height=1000), "PNG"), upright=False)
    with pytest.raises(ImageTooLarge, match="1048577 bytes"):
        decoder.decode(bytes(MOST_BYTES + 1), upright=False)
    assert process(decoder).pid == number


def test_a_process_that_died_is_replaced(decoder: Decoder) -> None:
    content = saved(picture(), "PNG")
    decoder.decode(content, upright=False)
    first = process(decoder)
    first.kill()
    first.wait()
    with pytest.raises(UndecodableImage, match="could not be decoded"):
        decoder.decode(content, upright=False)
    np.testing.assert_array_equal(decoder.decode(content, upright=False), PREPARER.prepare(content))
    assert process(decoder).pid != first.pid


def test_a_process_that_hangs_is_ended(decoder: Decoder) -> None:
    content = saved(picture(), "PNG")
    decoder.decode(content, upright=False)
    hung = process(decoder)
    os.kill(hung.pid, signal.SIGSTOP)
    decoder._seconds = 0.5
    with pytest.raises(UndecodableImage, match=r"more than 0\.5 s"):
        decoder.decode(content, upright=False)
    assert hung.poll() is not None


def test_closing_ends_the_process(decoder: Decoder) -> None:
    decoder.decode(saved(picture(), "PNG"), upright=False)
    running = process(decoder)
    decoder.close()
    assert running.poll() is not None


@pytest.mark.usefixtures("many_descriptors")
def test_it_works_in_a_process_that_has_very_many_descriptors(decoder: Decoder) -> None:
    content = saved(picture(), "PNG")
    np.testing.assert_array_equal(decoder.decode(content, upright=False), PREPARER.prepare(content))
