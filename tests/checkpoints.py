"""Small AltCLIP checkpoints with random weights, for tests of everything above them.

    directory = make_checkpoint(tmp_path / "model", size="tiny", tokenizer="json", weights="safetensors")

The files are those of the hub: config.json, preprocessor_config.json, a tokenizer in one of its two layouts,
weights as safetensors (one file or sharded) or as pickle.
"""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any, Literal

__all__ = ["SIZES", "TEXTS", "configuration", "make_checkpoint", "sentencepiece_model"]

# One or more texts in each of the nine languages, of mixed lengths, and what tokenizers stumble over.
TEXTS = [
    "a photo of a cat",
    "",
    "一张猫的照片",
    "una foto de un gato durmiendo en el sofá de la abuela, con un ratón de juguete entre las patas",
    "une photo d'un chat",
    "фотография кошки, которая спит",
    "猫の写真です",
    "고양이 사진",
    "صورة قطة",
    "la foto di un gatto",
    "two  spaces,\ttabs\nand newlines ",
    "ﬁgure ①② ｆｕｌｌｗｉｄｔｈ é é 🐈‍⬛",
    "cat",
    "dog " * 100,
]

Size = Literal["tiny", "small", "odd", "full"]
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "projection_dim": 24,
        "text": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "vision": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "image": {"image_size": 32, "patch_size": 8},
        "project_dim": 24,
    },
    # Towers of different width and depth, a single layer, a patch grid that is odd, other activations.
    "odd": {
        "projection_dim": 20,
        "text": {
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 1,
            "num_attention_heads": 3,
            "hidden_act": "gelu_new",
        },
        "vision": {
            "hidden_size": 40,
            "intermediate_size": 56,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "hidden_act": "gelu",
        },
        "image": {"image_size": 42, "patch_size": 14},
        "project_dim": 28,
    },
    "small": {
        "projection_dim": 128,
        "text": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
        "vision": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
        },
        "image": {"image_size": 64, "patch_size": 8},
        "project_dim": 128,
    },
    "full": {
        "projection_dim": 768,
        "text": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        "vision": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        "image": {"image_size": 224, "patch_size": 14},
        "project_dim": 768,
    },
}


def configuration(size: Size, vocab_size: int = 0) -> dict[str, Any]:
    """config.json of a checkpoint; vocab_size 0: the tokenizer's and a few more (the real one for "full")."""
    shape = SIZES[size]
    if not vocab_size:
        vocab_size = (
            250_002 if size == "full" else len(_proto_pieces()) + 2 + 7
        )  # some words no piece stands for
    return {
        "model_type": "altclip",
        "architectures": ["AltCLIPModel"],
        "projection_dim": shape["projection_dim"],
        "logit_scale_init_value": 2.6592,
        "text_config": {
            "model_type": "altclip_text_model",
            "project_dim": shape["project_dim"],
            "vocab_size": vocab_size,
            "max_position_embeddings": 514,
            "layer_norm_eps": 1e-5,
            "hidden_act": "gelu",
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "type_vocab_size": 1,
            **shape["text"],
        },
        "vision_config": {
            "model_type": "altclip_vision_model",
            **shape["image"],
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "projection_dim": shape["projection_dim"],
            **shape["vision"],
        },
    }


def make_checkpoint(
    directory: Path,
    *,
    size: Size = "tiny",
    tokenizer: Literal["json", "sentencepiece", "both"] = "json",
    weights: Literal["safetensors", "sharded", "pickle", "none"] = "safetensors",
    languages: tuple[str, ...] = (),
    seed: int = 0,
) -> Path:
    """Write a checkpoint into `directory` (made if missing) and return it. Imports torch and transformers."""
    directory.mkdir(parents=True, exist_ok=True)
    config = configuration(size)
    if languages:
        config["altclip_service"] = {"languages": list(languages)}
    (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    edge = SIZES[size]["image"]["image_size"]
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": edge},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": edge, "width": edge},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    _write_tokenizer(directory, tokenizer)
    _write_weights(directory, config, weights, seed)
    return directory


def _write_tokenizer(directory: Path, layout: str) -> None:
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}), encoding="utf-8"
    )
    model = directory / "sentencepiece.bpe.model"
    model.write_bytes(sentencepiece_model())
    if layout in ("json", "both"):
        from worker.inputs.tokenizer import read_sentencepiece

        read_sentencepiece(model).save(str(directory / "tokenizer.json"))
    if layout == "json":
        model.unlink()


def _write_weights(directory: Path, config: dict[str, Any], layout: str, seed: int) -> None:
    if layout == "none":
        return
    import torch
    from transformers import AltCLIPConfig, AltCLIPModel

    torch.manual_seed(seed)
    model = AltCLIPModel(AltCLIPConfig.from_dict(config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # As initialised, biases are zero and norms one: an encoder that forgot them would pass.
            if name == "logit_scale":
                parameter.fill_(4.6)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "embeddings" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    if layout == "pickle":
        torch.save(model.state_dict(), directory / "pytorch_model.bin")
    else:
        model.save_pretrained(directory, max_shard_size="100KB" if layout == "sharded" else "50GB")
        (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


@functools.cache
def sentencepiece_model() -> bytes:
    """A trained SentencePiece model of a few hundred pieces, with XLM-RoBERTa's charsmap (nmt_nfkc)."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=320,
        hard_vocab_limit=False,
        model_type="unigram",
        character_coverage=0.98,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return model.getvalue()


@functools.cache
def _proto_pieces() -> list[str]:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    return [processor.id_to_piece(piece) for piece in range(processor.get_piece_size())]
