"""The model: AltCLIP's own architecture at five million parameters, and training's forward passes."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AltCLIPConfig, AltCLIPModel

from training.recipe import IMAGE_SIZE, MAX_TOKENS, VOCABULARY, Schedule

WIDTH = 192
"""Width of the shared embedding space."""

ATTENTION = "eager"
"""For so few tokens in bfloat16 on a CPU, a step is a quarter faster than with torch's fused attention."""

PICTURE_PARTS = ("vision_model.", "visual_projection.")
TEXT_PARTS = ("text_model.", "text_projection.")
"""The parameters that each stage trains, by how their names begin."""


def build_config(vision_layers: int) -> AltCLIPConfig:
    """An `AltCLIPConfig` with the real checkpoints' fields and small sizes."""
    return AltCLIPConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 160,
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "intermediate_size": 640,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.0,
            "max_position_embeddings": MAX_TOKENS + 3,  # positions start behind the padding id, as in XLM-R
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "project_dim": WIDTH,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 192,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "image_size": IMAGE_SIZE,
            "patch_size": 8,
            "hidden_act": "quick_gelu",
            "projection_dim": WIDTH,
        },
        projection_dim=WIDTH,
    )


def build_model(schedule: Schedule) -> AltCLIPModel:
    """A fresh model."""
    torch.manual_seed(schedule.seed)
    return AltCLIPModel._from_config(build_config(schedule.vision_layers), attn_implementation=ATTENTION)


def load_model(folder: Path) -> AltCLIPModel:
    """A saved model in float32, without dropout."""
    model: AltCLIPModel = AltCLIPModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=ATTENTION
    )
    return model.eval()


def encode_pictures(model: AltCLIPModel, pixels: Tensor, kept: Tensor | None = None) -> Tensor:
    """Image embeddings [batch, width] of [batch, 3, 64, 64], from the tokens in `kept` [batch, n] if given.

    Dropping patches while training is FLIP's (Li et al. 2023): cheaper steps, and a regulariser.
    """
    vision = model.vision_model
    tokens = vision.embeddings(pixels)
    if kept is not None:
        tokens = torch.gather(tokens, 1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    embeddings: Tensor = model.visual_projection(vision.post_layernorm(hidden[:, 0]))
    return embeddings


def encode_texts(model: AltCLIPModel, tokens: Tensor, mask: Tensor) -> Tensor:
    """Text embeddings [batch, width] of token ids and attention mask, both [batch, length]."""
    embeddings: Tensor = model.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output
    return embeddings


def random_patches(batch: int, kept: int, generator: torch.Generator) -> Tensor:
    """For each picture the class token's position 0 and `kept` random patch positions: [batch, 1 + kept]."""
    patches = (IMAGE_SIZE // 8) ** 2
    order = torch.rand(batch, patches, generator=generator).argsort(dim=1)[:, :kept] + 1
    return torch.cat([torch.zeros(batch, 1, dtype=torch.long), order], dim=1)
