"""AltCLIP: XLM-RoBERTa for text, ViT for images, one space. Torch-free; `load()` imports what is not.

config.py    the configuration, read as data       loading.py  directory → encoder on a device
text.py      the text tower                        encoder.py  batches in, arrays out
vision.py    the image tower                       devices.py  how batches come to a device and back
layers.py    what both towers' layers are made of  faults.py   torch's errors as ours
packing.py   texts of equal length in groups       kernels.py  which way to multiply is the fastest here
bins.py      texts side by side in bins           cpu.py, int8.py, half.py  the ways
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from worker.families import Encoder, ImageProcessor, Tokenizer
from worker.families.altclip import config
from worker.spec import MAX_IMAGE_PIXELS, ModelSpec

__all__ = ["FAMILY"]


class AltClipFamily:
    """See the module."""

    model_type = "altclip"

    def describe(self, name: str, source: str, directory: Path, revision: str) -> ModelSpec:
        """From config.json and preprocessor_config.json; raises `ModelError`."""
        from worker.inputs.images import Preprocessing

        shape = config.read(directory)
        config.check_preprocessing(directory, shape, Preprocessing.read(directory))
        return ModelSpec(
            name=name,
            source=source,
            directory=str(directory),
            revision=revision,
            model_type=self.model_type,
            languages=shape.languages,
            dimension=shape.dimension,
            state_dimension=shape.state_dimension,
            max_tokens=shape.max_tokens,
            image_size=shape.image_size,
        )

    def tokenizer(self, spec: ModelSpec) -> Tokenizer:
        """XLM-RoBERTa's pieces; raises `ModelError`."""
        from worker.inputs.tokenizer import PieceTokenizer

        directory = Path(spec.directory)
        shape = config.read(directory)
        return PieceTokenizer.read(directory, spec.max_tokens, shape.vocab_size, shape.pad_id)

    def image_processor(self, spec: ModelSpec, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageProcessor:
        """CLIP's resize and crop."""
        from worker.inputs.images import ImagePreparer, Preprocessing

        return ImagePreparer(Preprocessing.read(Path(spec.directory)), max_pixels)

    def shapes(self, directory: Path) -> Mapping[str, tuple[int, ...]]:
        """Of transformers' own modules."""
        from worker.families.altclip.loading import empty_model

        return {name: tuple(tensor.shape) for name, tensor in empty_model(directory).state_dict().items()}

    def load(
        self,
        spec: ModelSpec,
        device: str,
        dtype: str,
        threads: int,
        kernels: str = "auto",
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Encoder:
        """Weights mapped or copied to the device; raises `ModelError`."""
        # Read when torch's thread pool is first loaded. By default a thread that waits for the others spins,
        # and where frontends or neighbours want the same cores, it burns the very time the others wait for:
        # measured on two busy cores, a text of the bundled model took 248 ms, and 7 ms with threads that
        # sleep.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from worker.families.altclip.loading import load

        return load(spec, device, dtype, threads, kernels, known)


FAMILY = AltClipFamily()
