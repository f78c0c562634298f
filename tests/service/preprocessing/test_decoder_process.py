"""What becomes of the memory that a large file took in a decoder process."""

from __future__ import annotations

import mmap

import pytest

from service.frontend.preprocessing import decoder_process
from service.frontend.preprocessing.decoders import Decoders
from tests.worker.inputs.pictures import IMAGES
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1 << 20)
UNKNOWN_TO_THE_KERNEL = 9999


@pytest.mark.parametrize(
    ("advice", "given_back"), [(mmap.MADV_REMOVE, True), (UNKNOWN_TO_THE_KERNEL, False)], ids=["known", "not"]
)
async def test_a_large_file_is_decoded_and_gives_its_memory_back_where_the_kernel_can(
    advice: int, given_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "MADV_REMOVE", advice)
    monkeypatch.setattr(decoder_process, "KEPT_BYTES", 100)
    content = IMAGES["jpeg"]()
    assert len(content) > 100
    decoders = Decoders(1, 1 << 20, 120.0)
    images = decoders.prepared_as(PREPARER)
    try:
        for _ in range(2):
            assert (await images.prepare(content)).pixels.any()
        (process,) = decoders._processes
        left = process._slab[: len(content)]
        assert left == (bytes(len(content)) if given_back else content)
    finally:
        decoders.close()
