"""What an operator writes after --model finds its model, or a sentence that says what to do."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from worker.errors import ModelChoiceError, ModelError
from worker.models import hub, sources
from worker.models.hub import KNOWN
from worker.models.sources import resolve, resolve_all
from worker.spec import ALL_LANGUAGES, ModelInfo, ModelSpec

Checkpoints = Callable[..., Path]


@pytest.fixture
def bundled(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = checkpoints(size="tiny")
    monkeypatch.setattr(sources, "bundled_directory", lambda: directory)
    return directory


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "bundled"),
        ("bundled", "bundled"),
        ("emoji=bundled", "emoji"),
        ("emoji=", "emoji"),
        ("emoji", "emoji"),
    ],
)
def test_no_source_is_the_bundled_model(bundled: Path, text: str, name: str) -> None:
    spec = resolve(text)
    assert (spec.name, spec.source, spec.directory) == (name, "bundled", str(bundled))


def test_without_a_model_the_bundled_one_is_served() -> None:
    (spec,) = resolve_all(())
    assert spec.name == "bundled"
    assert Path(spec.directory).is_dir()


def test_a_directory_is_named_after_itself_unless_it_is_given_a_name(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "mine"))
    assert resolve(str(directory)).name == "mine"
    spec = resolve(f"m={directory}")
    assert (spec.name, spec.source, spec.revision, spec.model_type) == ("m", str(directory), "", "altclip")
    assert (spec.dimension, spec.state_dimension, spec.max_tokens, spec.image_size) == (24, 24, 77, 32)
    assert spec.languages == ALL_LANGUAGES


def test_languages_are_what_the_configuration_says(checkpoints: Checkpoints) -> None:
    assert resolve(f"m={checkpoints(languages=('en', 'it'))}").languages == ("en", "it")


def test_languages_of_a_converted_model_are_those_of_its_origin(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "mine"))
    (directory / "manifest.json").write_text(json.dumps({"source": "BAAI/AltCLIP", "revision": "abc"}))
    spec = resolve(f"m={directory}")
    assert (spec.languages, spec.revision) == (("en", "zh"), "abc")


def test_a_stub_is_described_by_its_options() -> None:
    spec = resolve("s=stub:dimension=8,service_time=0.5")
    assert (spec.name, spec.dimension, spec.model_type, spec.directory) == ("s", 8, "stub", "")
    assert resolve("stub").name == "stub"
    assert resolve("stub:dimension=8").name == "stub"


@pytest.mark.parametrize(
    "text", ["stub:colour=red", "stub:dimension=wide", "stub:dimension=1.5", "m=stub:dimension"]
)
def test_a_wrong_option_of_the_stub_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="stub: "):
        resolve(text)


def hub_with(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub whose every model is `directory`; the calls it got."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        return str(directory)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


@pytest.mark.parametrize(
    ("text", "name", "revision", "languages"),
    [
        ("BAAI/AltCLIP", "BAAI/AltCLIP", KNOWN["BAAI/AltCLIP"].revision, ("en", "zh")),
        ("m=BAAI/AltCLIP-m9", "m", KNOWN["BAAI/AltCLIP-m9"].revision, ALL_LANGUAGES),
        ("m=BAAI/AltCLIP@refs/pr/9", "m", "refs/pr/9", ("en", "zh")),
        ("someone/else", "someone/else", "main", ALL_LANGUAGES),
        ("someone/else@0123abc", "someone/else", "0123abc", ALL_LANGUAGES),
    ],
)
def test_a_hub_name_is_fetched_at_its_pinned_revision_and_only_data(
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    name: str,
    revision: str,
    languages: tuple[str, ...],
) -> None:
    snapshot = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "c0ffee"))
    calls = hub_with(snapshot, monkeypatch)
    with caplog.at_level("INFO"):
        spec = resolve(text)
    assert (spec.name, spec.revision, spec.languages) == (name, "c0ffee", languages)
    assert calls[0]["revision"] == revision
    assert not any(".bin" in pattern or ".py" in pattern for pattern in calls[0]["allow_patterns"])
    assert "c0ffee" in caplog.text  # what the name meant today can be pinned tomorrow


def test_of_a_hub_model_its_own_files_are_fetched_and_nothing_below(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training leaves checkpoints in folders beside the model, each as large as the model."""
    calls = hub_with(checkpoints(size="tiny"), monkeypatch)
    hub.download("someone/else", pickles=True)

    def among(which: str, path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in calls[0][f"{which}_patterns"])

    own = ["config.json", "model.safetensors", "pytorch_model.bin", "sentencepiece.bpe.model"]
    notices = ["LICENCE", "LICENSE.md", "MODEL_LICENSE", "NOTICE", "README.md", "USE_POLICY.md"]
    others = ["checkpoint-500/model.safetensors", "checkpoint-500/config.json", "onnx/LICENSE", "train.py"]
    found = [path for path in [*own, *notices, *others] if among("allow", path)]
    assert [path for path in found if not among("ignore", path)] == [*own, *notices]


def test_a_hub_model_without_safetensors_names_the_command_that_converts_it(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_with(checkpoints(size="tiny", weights="none"), monkeypatch)
    with pytest.raises(ModelError, match=r"altclip-server convert BAAI/AltCLIP DIRECTORY"):
        resolve("BAAI/AltCLIP")


def test_without_a_network_the_error_says_how_to_get_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"not in the local cache.*hf download nobody/nothing --revision main"
    ):
        hub.download("nobody/nothing")


@pytest.fixture
def refusing_proxy() -> Iterator[str]:
    """The address of a proxy that lets nobody through."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:  # it was shut down
                    return
                with client, contextlib.suppress(OSError):
                    client.recv(1 << 16)
                    client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_proxy_that_refuses_is_told_in_a_sentence(
    refusing_proxy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, refusing_proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    huggingface_hub.close_session()  # a new one reads the environment
    try:
        with pytest.raises(ModelError, match="nobody/nothing at revision main cannot be fetched: 407 Proxy"):
            hub.download("nobody/nothing")
    finally:
        huggingface_hub.close_session()


def test_a_cache_in_a_relative_directory_is_found_from_any_other(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoints(size="tiny"), tmp_path / "cache" / "c0ffee")
    monkeypatch.chdir(tmp_path)
    hub_with(Path("cache/c0ffee"), monkeypatch)
    spec = resolve("someone/else")
    assert (spec.directory, spec.revision) == (str(tmp_path / "cache" / "c0ffee"), "c0ffee")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m=./nowhere", "neither a directory nor a model on the hub"),
        ("../nowhere", "neither a directory nor a model on the hub"),
        ("m n=bundled", "no name for a model"),
        ("=bundled", "no name for a model"),
        ("BAAI/AltCLIP@", "no revision after the @"),
    ],
)
def test_a_source_that_is_nothing_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        resolve(text)


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve(f"m={tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="no model family 'bert'; known: altclip, stub"):
        resolve(f"m={tmp_path}")


@pytest.mark.parametrize("content", ['{"model_type": "altclip",', "\ufeff{}", None])
def test_a_configuration_that_cannot_be_read_is_no_missing_one(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"^{path} cannot be read: \w"):
        resolve(f"m={tmp_path}")


@pytest.mark.parametrize(
    ("source", "said"), [("m" * 300, "File name too long"), ("~nobody-at-all/model", "home directory")]
)
@pytest.mark.parametrize("name", ["", "m="])
def test_a_source_that_the_system_cannot_look_up_is_refused_in_a_sentence(
    name: str, source: str, said: str
) -> None:
    with pytest.raises(ModelError, match=f"^{source}: .*{said}"):
        resolve(name + source)


def test_images_of_another_size_than_the_tower_takes_are_noticed(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "mine"))
    (directory / "preprocessor_config.json").write_text('{"size": 48, "crop_size": 48}')
    with pytest.raises(ModelError, match="cut to 48 pixels, the model takes 32"):
        resolve(f"m={directory}")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("text_config", "num_attention_heads", 0),
        ("text_config", "num_attention_heads", 5),
        ("text_config", "num_hidden_layers", 0),
        ("text_config", "pad_token_id", -1),
        ("text_config", "pad_token_id", 1_000_000),
        ("text_config", "max_position_embeddings", 4),
        ("text_config", "vocab_size", "many"),
        ("vision_config", "hidden_size", -32),
        ("vision_config", "num_attention_heads", 3),
        ("vision_config", "num_channels", 1),
        ("vision_config", "patch_size", True),
    ],
)
def test_a_number_that_no_model_can_have_is_named_before_anything_is_loaded(
    part: str, name: str, value: object, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "mine"))
    config = json.loads((directory / "config.json").read_text())
    config[part][name] = value
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json: {part}\..*{name}"):
        resolve(f"m={directory}")


def test_several_models_need_several_names(bundled: Path) -> None:
    assert [spec.name for spec in resolve_all(["a=stub", "b=stub", "bundled"])] == ["a", "b", "bundled"]
    assert [spec.name for spec in resolve_all([])] == ["bundled"]
    with pytest.raises(ModelChoiceError, match="two models are called stub"):
        resolve_all(["stub", "stub:dimension=3"])
    with pytest.raises(
        ModelChoiceError, match="two models are called nobody/nothing"
    ):  # before it is fetched
        resolve_all(["nobody/nothing@one", "nobody/nothing@two"])


def test_specs_and_infos_cross_a_process_border_as_json() -> None:
    spec = resolve("stub:languages=en|zh")
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    info = ModelInfo("cpu", "float32", 99.5, 3, 12, 0.5)
    assert ModelInfo.from_dict({**json.loads(json.dumps(info.to_dict())), "newer": 1}) == info
