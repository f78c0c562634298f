"""The model as anyone would serve it who has transformers: what every peer but Infinity runs."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AltCLIPModel, AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

__all__ = ["Model", "Prepare"]

THREADS = 2


class Prepare:
    """What comes before the model: token ids, pixels."""

    def __init__(self, directory: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.processor = CLIPImageProcessorPil.from_pretrained(directory)

    def texts(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        return dict(
            self.tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")
        )

    def image(self, content: bytes) -> torch.Tensor:
        """float32 [3, 224, 224]."""
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        pixels: torch.Tensor = self.processor([picture], return_tensors="pt")["pixel_values"][0]
        return pixels


class Model:
    """Both towers on the processor, in what `PEER_DTYPE` says: float32, bfloat16 or int8."""

    def __init__(self, directory: str) -> None:
        torch.set_num_threads(THREADS)
        self.prepare = Prepare(directory)
        dtype = os.environ.get("PEER_DTYPE", "float32")
        self.model = AltCLIPModel.from_pretrained(directory).eval()
        if dtype == "bfloat16":
            self.model = self.model.to(torch.bfloat16)
        if dtype == "int8":
            quantize: Any = torch.ao.quantization.quantize_dynamic
            self.model = quantize(self.model, {torch.nn.Linear})

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> list[bytes]:
        """Each text's embedding, in float32."""
        return self._rows(self.model.get_text_features(**self.prepare.texts(texts)))

    @torch.inference_mode()
    def embed_images(self, files: Sequence[bytes]) -> list[bytes]:
        """Each file's embedding, in float32."""
        pixels = torch.stack([self.prepare.image(content) for content in files])
        pixels = pixels.to(next(self.model.vision_model.parameters()).dtype)
        return self._rows(self.model.get_image_features(pixel_values=pixels))

    def _rows(self, output: object) -> list[bytes]:
        rows = getattr(output, "pooler_output", output)
        return [row.float().numpy().tobytes() for row in rows]  # type: ignore[attr-defined]
