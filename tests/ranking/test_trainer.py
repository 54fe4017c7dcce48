"""The trainer on a model and batches of its own: it knows neither slates nor histories."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recspark.errors import TrainingError
from recspark.ranking.checkpoint import load_checkpoint
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import Processes, join_processes
from recspark.ranking.trainer import Progress, Trainer
from tests.ranking.test_several_processes import in_processes

N_ROWS, N_CODES, SIZE = 24, 50, 4


@dataclass(frozen=True)
class Codes:
    """B rows of two codes, and what they are worth."""

    rows: Tensor
    codes: Tensor
    value: Tensor
    weight: Tensor


class Table(nn.Module):
    """The value of a row is a linear function of its codes' embeddings."""

    no_decay = frozenset({"out"})

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(N_CODES, SIZE)
        self.out = nn.Linear(SIZE, 1)

    def forward(self, batch: Codes) -> Tensor:
        return self.out(self.codes(batch.codes).sum(1)).squeeze(-1)


def squares(model: nn.Module, batch: Codes) -> tuple[Tensor, Tensor]:
    return (model(batch) - batch.value).square(), batch.weight


def world() -> Codes:
    rng = np.random.default_rng(4)
    codes = torch.from_numpy(rng.integers(0, N_CODES, (N_ROWS, 2)))
    weight = torch.from_numpy(rng.integers(0, 3, N_ROWS).astype(np.float32))
    return Codes(torch.arange(N_ROWS) + 100, codes, (codes[:, 0] < 25).float(), weight)


def cut(data: Codes, at: slice | Tensor) -> Codes:
    return Codes(data.rows[at], data.codes[at], data.value[at], data.weight[at])


ALONE = Processes(0, 1, torch.device("cpu"))
OPTIONS = {"epochs": 3, "patience": 3, "global_batch_size": 8, "learning_rate": 0.05, "weight_decay": 0.0, "max_gradient_norm": 1e9}


def make_trainer(
    folder: Path, processes: Processes = ALONE, data: Codes | None = None, model: nn.Module | None = None, **knobs: Any
) -> Trainer:
    options = TrainingOptions(**{**OPTIONS, **knobs})
    data, size = data or world(), options.global_batch_size
    torch.manual_seed(1)
    model = model or Table()

    def batches(epoch: int, first_sample: int) -> Iterator[Codes]:
        """Process r of w has every w-th row of each batch."""
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(N_ROWS))
        for start in range(first_sample, N_ROWS, size):
            yield cut(data, order[start : start + size][processes.process_rank :: processes.world_size])

    def evaluate(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float(squares(model, data)[0].mean())}

    return Trainer(
        model,
        options,
        processes,
        n_steps=N_ROWS // size,
        batches=batches,
        loss=squares,
        evaluate=evaluate,
        folder=str(folder),
        identity=options.identity(),
        report=lambda state: None,
    )


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_an_update_minimises_the_weighted_mean(tmp_path, optimiser):
    trainer = make_trainer(tmp_path, global_batch_size=N_ROWS, epochs=1, warm_up=0.0, schedule="constant", optimiser=optimiser)
    torch.manual_seed(1)
    model, data = Table(), world()
    losses, weight = squares(model, data)
    ((losses * weight).sum() / weight.sum()).backward()
    make = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser]
    make(model.parameters(), lr=0.05, weight_decay=0.0).step()
    trainer.train()
    torch.testing.assert_close(trainer.model.state_dict(), model.state_dict())


def test_accumulated_batches_make_the_update_of_one_batch(tmp_path):
    small = make_trainer(tmp_path / "small", global_batch_size=8, accumulation=3)
    large = make_trainer(tmp_path / "large", global_batch_size=24)
    assert [row["train_loss"] for row in small.train().curve] == pytest.approx([row["train_loss"] for row in large.train().curve], abs=1e-6)
    torch.testing.assert_close(weights(small), weights(large))


def test_the_last_update_of_an_epoch_takes_what_there_is(tmp_path):
    trainer = make_trainer(tmp_path, global_batch_size=8, accumulation=2, epochs=1)
    shares: list[float] = []
    take = trainer.updates.take
    trainer.updates.take = lambda *given: (shares.append(given[0]), take(*given))[1]  # type: ignore[method-assign]
    trainer.train()
    assert len(shares) == 2, "of 3 batches"


def test_gradients_are_clipped_by_their_common_norm(tmp_path):
    def first_step(**knobs: float) -> Tensor:
        trainer = make_trainer(tmp_path / str(knobs), epochs=1, optimiser="sgd", momentum=0.0, warm_up=0.0, schedule="constant", **knobs)
        before = weights(trainer)
        trainer.updates.add(world())
        trainer.updates.take(1.0, False, float("inf"))
        return weights(trainer) - before

    step = first_step()
    assert step.norm() > 0.01 * 0.05
    # learning rate 0.05 times a gradient of norm 0.01, in the same direction.
    torch.testing.assert_close(first_step(max_gradient_norm=0.01), step / step.norm() * 0.05 * 0.01, rtol=1e-2, atol=2e-7)


def test_nothing_that_weighs_is_no_update(tmp_path):
    data = world()
    trainer = make_trainer(tmp_path, data=Codes(data.rows, data.codes, data.value, torch.zeros(N_ROWS)), weight_decay=0.1)
    before = weights(trainer)
    trainer.train()
    assert torch.equal(weights(trainer), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_rows_and_changes_nothing(tmp_path, value):
    data = world()
    data.value[7], data.weight[7] = value, 1.0
    trainer = make_trainer(tmp_path, data=data, global_batch_size=24)
    before = weights(trainer)
    with pytest.raises(
        TrainingError, match=r"at epoch 1, step 1 of 1: the loss is (nan|inf), not finite in rows \[107\]; there is no checkpoint yet"
    ):
        trainer.train()
    assert torch.equal(weights(trainer), before)


def test_bfloat16_is_near_float32(tmp_path):
    halves, whole = (make_trainer(tmp_path / name, precision=name).train().curve for name in ("bfloat16", "float32"))
    assert halves[-1]["tune_loss"] == pytest.approx(whole[-1]["tune_loss"], rel=0.05)
    assert halves[-1]["tune_loss"] != whole[-1]["tune_loss"]
    assert whole[-1]["tune_loss"] < 0.8 * whole[0]["tune_loss"]


@pytest.mark.slow
def test_a_compiled_model_trains_alike(tmp_path):
    compiled, plain = (make_trainer(tmp_path / str(on), compile=on, epochs=1) for on in (True, False))
    compiled.train()
    plain.train()
    torch.testing.assert_close(weights(compiled), weights(plain))


class Tied(Table):
    def forward(self, batch: Codes) -> Tensor:
        return super().forward(batch) + self.codes.weight.sum()


def test_a_table_that_is_read_as_a_whole_is_not_for_rowwise(tmp_path):
    trainer = make_trainer(tmp_path, model=Tied(), embeddings="rowwise")
    with pytest.raises(
        TrainingError, match="rowwise does not suit this model: its table of 50 x 4 is read as a whole.*set embeddings to dense"
    ):
        trainer.train()


def test_rowwise_embeddings_resume_bit_for_bit(tmp_path):
    whole = make_trainer(tmp_path / "whole", embeddings="rowwise")
    progress = whole.train()
    assert progress.curve[-1]["tune_loss"] < 0.5 * progress.curve[0]["tune_loss"]
    first = make_trainer(tmp_path / "twice", embeddings="rowwise", checkpoint_every=1)
    take, taken = first.updates.take, []

    def take_four(*given: Any) -> Any:
        taken.append(1)
        return take(given[0], len(taken) == 4, given[2])

    first.updates.take = take_four  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="stopped by SIGTERM at epoch 2, sample 8"):
        first.train()
    assert load_checkpoint(str(tmp_path / "twice"), first.identity).state is not None
    again = make_trainer(tmp_path / "twice", embeddings="rowwise", checkpoint_every=1)
    again.train()
    assert torch.equal(weights(again), weights(whole))


CASES: dict[str, dict[str, Any]] = {"dense": {}, "rowwise": {"embeddings": "rowwise"}, "accumulated": {"accumulation": 2}}


def _train(folder: str, processes: Processes, **knobs: Any) -> list[dict[str, float]]:
    trainer = make_trainer(Path(folder), processes, **knobs)
    progress: Progress = trainer.train()
    if processes.is_first:
        torch.save(trainer.model.state_dict(), f"{folder}-weights.pt")
    return progress.curve


def _stop_one(folder: str, processes: Processes) -> str:
    """Process 1 alone is told to stop, in its second update."""
    trainer = make_trainer(Path(folder), processes)
    add, added = trainer.updates.add, []

    def add_and_be_told(batch: Any) -> None:
        added.append(1)
        trainer.stop.requested = processes.process_rank == 1 and len(added) == 2
        add(batch)

    trainer.updates.add = add_and_be_told  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    return str(caught.value)


def _lose_one(folder: str, processes: Processes) -> str:
    """A row of one process is not finite."""
    data = world()
    data.value[17], data.weight[17] = torch.nan, 1.0
    with pytest.raises(TrainingError) as caught:
        make_trainer(Path(folder), processes, data=data).train()
    return str(caught.value)


def in_each(folder: str) -> list[Any]:
    """What each of several processes does, one after the other, in one group."""
    processes = join_processes()
    curves = [_train(f"{folder}/{name}", processes, **knobs) for name, knobs in CASES.items()]
    return [*curves, _stop_one(f"{folder}/stop", processes), _lose_one(f"{folder}/lost", processes)]


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path):
    """Also row by row, in accumulated batches, and when one of them is told to stop or has the row that is not finite."""
    ((first, second),) = in_processes(2, tmp_path, [(in_each, {"folder": str(tmp_path)})])
    for (name, knobs), got, other in zip(CASES.items(), first, second, strict=False):
        alone = make_trainer(tmp_path / f"{name}-alone", **knobs)
        curve = alone.train().curve
        assert [row["tune_loss"] for row in got] == [row["tune_loss"] for row in other]
        # Sums in another order: float32 rounding.
        assert [row["train_loss"] for row in got] == pytest.approx([row["train_loss"] for row in curve], abs=1e-5)
        torch.testing.assert_close(torch.load(tmp_path / f"{name}-weights.pt"), alone.model.state_dict(), rtol=1e-4, atol=1e-5)
    for *_, stopped, lost in (first, second):
        assert stopped == "stopped by SIGTERM at epoch 1, sample 16; run again to resume from there"
        assert "not finite in rows [117]; " in lost


def test_what_training_is_judged_by_must_be_finite(tmp_path: Path):
    trainer = make_trainer(tmp_path)
    trainer.evaluate = lambda model: {"loss": float("nan")}
    with pytest.raises(TrainingError, match="loss of the rows that training is judged by is nan after epoch 1"):
        trainer.train()


def test_the_largest_losses_are_those_of_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    updates = make_trainer(tmp_path).updates
    updates.add(cut(world(), slice(0, 8)))
    monkeypatch.setattr(Processes, "gather", lambda self, told: [told, ([], [(1e6, 777)])])
    with pytest.raises(FloatingPointError, match=r"the largest of rows \[777, 1\d\d"):
        updates.take(1.0, False, limit=0.0)
