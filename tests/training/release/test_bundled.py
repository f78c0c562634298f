"""The committed model is whole: manifest, size, layout, licences, and a card that says what was measured."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from training.recipe import LANGUAGES, MAX_TOKENS, PAD_TOKEN, VOCABULARY
from training.release.card import ensemble_table, retrieval_table, style_table

BUNDLED = Path(__file__).parents[3] / "worker" / "bundled"
MOST_BYTES = 12_000_000


def read(name: str) -> Any:
    return json.loads((BUNDLED / name).read_text(encoding="utf-8"))


def mean_over_languages_and_directions(style: str, cutoff: str) -> float:
    retrieval = read("results.json")["styles"][style]["retrieval"]
    figures = [table[cutoff] for directions in retrieval.values() for table in directions.values()]
    return float(sum(figures) / len(figures))


def test_the_manifest_lists_every_file_as_it_is() -> None:
    files = {entry["name"]: entry for entry in read("manifest.json")["files"]}
    assert set(files) == {path.name for path in BUNDLED.iterdir()} - {"manifest.json"}
    for name, entry in files.items():
        content = (BUNDLED / name).read_bytes()
        assert entry == {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= MOST_BYTES


def test_it_has_the_real_checkpoints_layout() -> None:
    config = read("config.json")
    assert config["model_type"] == "altclip"
    assert config["altclip_service"]["languages"] == list(LANGUAGES)
    assert config["text_config"]["project_dim"] == config["vision_config"]["projection_dim"]
    assert read("preprocessor_config.json")["size"] == {
        "shortest_edge": config["vision_config"]["image_size"]
    }


def test_the_tokenizer_has_xlm_robertas_ids() -> None:
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    assert [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [
        0,
        PAD_TOKEN,
        2,
        3,
    ]
    assert tokenizer.get_vocab_size() <= VOCABULARY
    assert tokenizer.encode("cat").ids[0] == 0
    assert tokenizer.encode("cat").ids[-1] == 2
    assert read("tokenizer_config.json")["model_max_length"] == MAX_TOKENS


@pytest.mark.parametrize("text", ["cat", "猫", "gato", "chat", "кошка", "ネコ", "고양이", "قطة", "gatto"])
def test_no_word_of_the_nine_languages_is_unknown_to_the_tokenizer(text: str) -> None:
    assert 3 not in Tokenizer.from_file(str(BUNDLED / "tokenizer.json")).encode(text).ids


def test_the_card_says_what_was_measured() -> None:
    results, card = read("results.json"), (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert style_table(results) in card
    assert ensemble_table(results) in card
    for style in results["unseen_styles"]:
        assert retrieval_table(results["styles"][style]) in card


def test_every_style_was_evaluated_in_every_language_and_two_were_never_seen() -> None:
    results = read("results.json")
    assert set(results["unseen_styles"]) >= {"fluent-emoji-flat", "openmoji"}
    assert set(results["styles"]) > set(results["unseen_styles"])
    assert all(set(style["retrieval"]) == set(LANGUAGES) for style in results["styles"].values())


def test_pictures_never_seen_are_found() -> None:
    assert mean_over_languages_and_directions("fluent-emoji-flat", "R@1") >= 92
    assert mean_over_languages_and_directions("openmoji", "R@1") >= 58
    assert mean_over_languages_and_directions("openmoji", "R@10") >= 84


def test_names_find_their_own_concept() -> None:
    assert min(read("results.json")["names_on_prototype"].values()) >= 99


def test_licences_lie_beside_the_weights() -> None:
    attribution = (BUNDLED / "ATTRIBUTION.md").read_text(encoding="utf-8").replace("-", " ")
    assert all(
        word in attribution for word in ("Unicode", "CC BY 4.0", "Apache 2.0", "MIT", "CC BY SA 4.0", "OFL")
    )
