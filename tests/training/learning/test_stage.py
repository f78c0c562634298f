"""A stage goes on after any interruption as if there had been none, and ends on its average."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.learning import stage as stages
from training.learning.stage import StageRun
from training.recipe import Stage

STAGE = Stage(
    steps=12,
    batch=4,
    warmup=2,
    cooldown=6,
    matrix_rate=0.02,
    other_rate=0.02,
    weight_decay=0.05,
    average_decay=0.9,
)


def tower() -> nn.Module:
    """A matrix of a layer, which Muon trains, and a head, which AdamW does."""
    layers = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": nn.Linear(2, 2)})})
    return nn.ModuleDict({"tower": layers, "head": nn.Linear(2, 2)})


class Threefold(StageRun):
    """Learns y = 3x from batches that are drawn by the step's number."""

    name = "threefold"

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        super().__init__(STAGE, tower(), folder, torch.device("cpu"))

    def advance(self) -> dict[str, Tensor]:
        inputs = torch.randn(STAGE.batch, 2, generator=torch.Generator().manual_seed(self.step))
        layers, head = self.learned.get_submodule("tower.encoder.layers"), self.learned.get_submodule("head")
        loss = (head(layers(inputs)) - 3 * inputs).square().mean()
        torch.autograd.backward(loss)
        self.update()
        return {"loss": loss.detach()}

    def look(self) -> dict[str, object]:
        return {"looked": True}

    def weights(self) -> list[Tensor]:
        return [*self.learned.state_dict().values(), *self.average.values()]


class Interrupted(Exception):
    """The run was cut off."""


def cut_off_at(run: Threefold, step: int) -> None:
    advance = run.advance

    def cut() -> dict[str, Tensor]:
        if run.step == step:
            raise Interrupted
        return advance()

    run.advance = cut  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        run.run()


@pytest.fixture
def every_step_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "CHECKPOINT_SECONDS", -1)


@pytest.mark.usefixtures("every_step_is_saved")
def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
    unbroken = Threefold(tmp_path / "unbroken")
    unbroken.run()
    cut_off_at(Threefold(tmp_path / "broken"), 7)
    resumed = Threefold(tmp_path / "broken")
    resumed.run()
    assert resumed.step == STAGE.steps
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights(), unbroken.weights(), strict=True))


@pytest.mark.usefixtures("every_step_is_saved")
def test_a_checkpoint_that_was_cut_off_leaves_the_last_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_at(Threefold(tmp_path), 5)

    def half_written(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half_written)
        with pytest.raises(Interrupted):
            Threefold(tmp_path).run()
    resumed = Threefold(tmp_path)
    resumed.resume()
    assert resumed.step == 5


@pytest.mark.parametrize("dropout", [True, False])
def test_the_average_serves_and_weights_and_dropout_come_back(tmp_path: Path, dropout: bool) -> None:
    run = Threefold(tmp_path)
    run.learned.train(dropout)
    for _ in range(6):
        run.train_step()
    weights = {name: value.clone() for name, value in run.learned.state_dict().items()}
    modes = []
    with run.averaged():
        modes.append(run.learned.training)
        assert all(torch.equal(run.learned.state_dict()[name], run.average[name]) for name in run.average)
    modes.append(run.learned.training)
    assert modes == [False, dropout]
    assert all(torch.equal(run.learned.state_dict()[name], weights[name]) for name in weights)
    assert not torch.equal(run.average["head.weight"], weights["head.weight"])


def test_a_finished_run_says_how_it_went_and_does_nothing_when_run_again(tmp_path: Path) -> None:
    Threefold(tmp_path).run()
    (entry,) = [json.loads(line) for line in (tmp_path / "threefold.jsonl").read_text().splitlines()]
    assert entry["step"] == entry["of"] == STAGE.steps
    assert entry["looked"] is True
    assert entry["loss"] > 0
    Threefold(tmp_path).run()
    assert len((tmp_path / "threefold.jsonl").read_text().splitlines()) == 1
