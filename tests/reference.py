"""What transformers itself answers: the reference that parity tests, here and end to end, compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AltCLIPModel, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from worker.arrays import Floats

__all__ = ["Reference"]


class Reference:
    """A checkpoint under transformers' own classes, with its PIL image processor."""

    def __init__(self, directory: Path) -> None:
        self.model = AltCLIPModel.from_pretrained(directory).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.processor = CLIPImageProcessorPil.from_pretrained(directory)

    def text(self, texts: Sequence[str]) -> Floats:
        """float32 [texts, dimension], not normalised; padded to the longest."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")
        with torch.inference_mode():
            return _array(self.model.get_text_features(**batch).pooler_output)

    def image(self, images: Sequence[Image.Image]) -> Floats:
        """float32 [images, dimension], not normalised.

        Alpha is dropped, as Pillow's conversion does; transformers would lay the image on white.
        """
        batch = self.processor([image.convert("RGB") for image in images], return_tensors="pt")
        with torch.inference_mode():
            return _array(self.model.get_image_features(**batch).pooler_output)

    def pixels(self, image: Image.Image) -> Floats:
        """float32 [3, S, S]: what its PIL processor makes of the image."""
        return np.asarray(self.processor([image.convert("RGB")], return_tensors="np")["pixel_values"][0])

    def prompt(self, texts: Sequence[str], variant: int) -> Floats:
        """float32 [texts, 77, state dimension]: variant 0 is AltDiffusion's states, 1 AltCLIP's."""
        batch = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        )
        with torch.inference_mode():
            if variant == 1:
                return _array(self.model.text_model(**batch).last_hidden_state)
            states = self.model.text_model.roberta(**batch).last_hidden_state
            return _array(self.model.text_model.transformation(states))


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.numpy()
    return array
