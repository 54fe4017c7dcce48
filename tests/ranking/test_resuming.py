"""A training that was stopped anywhere goes on as if it had not been, or begins anew where it is not the same any more."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recspark.errors import TrainingError
from recspark.handover.files import PROGRESS
from recspark.ranking import trainer
from recspark.ranking.checkpoint import CARD, FOLDER, INDEX, WEIGHTS, load_checkpoint, save_checkpoint
from recspark.ranking.processes import Processes
from recspark.ranking.train import RankerOptions, train_ranker
from tests.ranking.conftest import learnt
from tests.ranking.test_several_processes import in_processes
from tests.slate_files import make_slates, plan_files


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/{WEIGHTS}")


def assert_equal_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def newest(folder: Path) -> Path:
    return folder / json.loads((folder / INDEX).read_text())[-1]


class StopError(Exception):
    pass


def stop_after(monkeypatch, n_saves: int) -> None:
    """The training ends right after its n-th checkpoint; the next one is left alone."""
    saved, real = [], trainer.save_checkpoint

    def save_then_stop(*arguments):
        name = real(*arguments)
        saved.append(1)
        if len(saved) == n_saves:
            raise StopError
        return name

    monkeypatch.setattr(trainer, "save_checkpoint", save_then_stop)


@pytest.mark.parametrize("n_saves", [1, 2, 4])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(make_world, monkeypatch, n_saves):
    world = make_world()
    knobs = {"model": world.knobs(dropout=0.3, item_dropout=0.3), "checkpoint_every": 3}
    card = train_ranker(**world.arguments(**knobs, folder=str(world.folder / "whole")))
    stop_after(monkeypatch, n_saves)
    arguments = world.arguments(**knobs, folder=str(world.folder / "twice"))
    with pytest.raises(StopError):
        train_ranker(**arguments)
    again = train_ranker(**arguments)
    assert_equal_bits(weights(str(world.folder / "twice")), weights(str(world.folder / "whole")))
    assert learnt(again) == learnt(card)
    assert not (world.folder / "twice" / FOLDER).exists(), "the artefact needs none"


def _counted_steps(monkeypatch) -> list[int]:
    """Fills, from now on, with the sample at which each step begins."""
    samples, real = [], trainer.Trainer._add

    def add(self, batch):
        samples.append(self.progress.sample)
        return real(self, batch)

    monkeypatch.setattr(trainer.Trainer, "_add", add)
    return samples


def test_another_horizons_write_or_another_place_does_not_hinder_going_on(make_world, monkeypatch):
    world = make_world()
    train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    stop_after(monkeypatch, 1)
    with pytest.raises(StopError):
        train_ranker(**world.arguments(checkpoint_every=3))
    shutil.copytree(world.folder / "fit", world.folder / "moved")
    files = tuple(replace(file, url=file.url.replace("/fit/", "/moved/", 1)) for file in world.fit.files)
    assert files != world.fit.files
    samples = _counted_steps(monkeypatch)
    train_ranker(**world.arguments(examples=replace(world.fit, version=4, files=files)))
    assert samples == [48, 0, 16, 32, 48], "the fourth step of the first epoch, then the second epoch"
    assert_equal_bits(weights(str(world.folder / "work")), weights(str(world.folder / "whole")))


@pytest.mark.parametrize(("changed", "differs"), [({"epochs": 3}, "parameters"), ({"rows": 49}, "data"), ({"dropout": 0.1}, "model")])
def test_a_checkpoint_of_another_training_is_left_and_said(make_world, monkeypatch, changed, differs):
    world = make_world()
    fresh = {"epochs": changed.get("epochs", 2), "model": world.knobs(dropout=changed.get("dropout", 0.0))}
    if "rows" in changed:
        slates = {name: array[: changed["rows"]] for name, array in make_slates(50, 1).items()}
        fresh["examples"] = plan_files(world.folder / "others", [slates])
    stop_after(monkeypatch, 1)
    with pytest.raises(StopError):
        train_ranker(**world.arguments(checkpoint_every=3))
    samples = _counted_steps(monkeypatch)
    train_ranker(**world.arguments(**fresh))
    assert samples[0] == 0
    assert json.loads((world.folder / "work" / PROGRESS).read_text())["note"] == (
        f"the checkpoint found is of another training (other {differs}): this one begins anew"
    )
    train_ranker(**world.arguments(**fresh, folder=str(world.folder / "fresh")))
    assert_equal_bits(weights(str(world.folder / "work")), weights(str(world.folder / "fresh")))


def test_the_cards_seconds_are_those_of_all_attempts(make_world, monkeypatch):
    world = make_world()
    stop_after(monkeypatch, 1)
    with pytest.raises(StopError):
        train_ranker(**world.arguments(checkpoint_every=3))
    path = newest(world.folder / "work")
    state = torch.load(path, weights_only=True)
    assert 0 < state["progress"]["seconds"] < 1000
    state["progress"]["seconds"] += 1000
    torch.save(state, path)
    assert 1000 < train_ranker(**world.arguments())["seconds"] < 2000


def test_the_last_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    folder, identity = str(tmp_path), {"data": "these"}
    for number in (3, 6, 9):
        name = save_checkpoint(folder, number, {"identity": identity, "number": number}, 2)
    assert sorted(path.name for path in (tmp_path / FOLDER).glob("*.pt")) == ["000000006.pt", "000000009.pt"]
    assert load_checkpoint(folder, identity).state["number"] == 9
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    found = load_checkpoint(folder, identity)
    assert (found.name, found.state["number"]) == (f"{FOLDER}/000000006.pt", 6)
    (tmp_path / found.name).unlink()
    assert load_checkpoint(folder, identity).state is None
    # What a killed process left is not in the index: it does not count.
    (tmp_path / FOLDER / "000000099.pt").write_bytes(b"half")
    assert load_checkpoint(folder, identity).state is None


def _train_and_die(arguments: dict, n_saves: int) -> None:
    """A training process that the machine loses right after its n-th checkpoint, in the middle of an epoch."""
    real, saved = trainer.save_checkpoint, []

    def save_then_die(*given):
        name = real(*given)
        saved.append(1)
        if len(saved) == n_saves:
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    trainer.save_checkpoint = save_then_die
    torch.set_num_threads(1)
    train_ranker(**arguments)


def _train_and_terminate(arguments: dict) -> None:
    """A training process that is told to stop in its second step."""
    real, steps = trainer.Trainer._add, []

    def add(self, batch):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, batch)

    trainer.Trainer._add = add
    torch.set_num_threads(1)
    train_ranker(**arguments)


def _run(target, *arguments) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.slow
def test_a_training_killed_mid_epoch_goes_on_where_it_was(make_world):
    world = make_world()
    train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    arguments = world.arguments(checkpoint_every=3)
    assert _run(_train_and_die, arguments, 1) == -signal.SIGKILL
    work = Path(arguments["folder"])
    state = torch.load(newest(work), weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["sample"]) == (0, 48)
    assert not (work / CARD).exists(), "no half artefact"
    train_ranker(**world.arguments())
    assert_equal_bits(weights(str(work)), weights(str(world.folder / "whole")))


@pytest.mark.slow
def test_sigterm_saves_before_it_ends(make_world):
    world = make_world()
    train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    arguments = world.arguments()
    assert _run(_train_and_terminate, arguments) == 1
    state = torch.load(newest(Path(arguments["folder"])), weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["sample"]) == (0, 32)
    train_ranker(**arguments)
    assert_equal_bits(weights(arguments["folder"]), weights(str(world.folder / "whole")))


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(make_world, monkeypatch):
    """The same order of data: figures differ by float32 rounding alone, as those of one process and two do."""
    world = make_world()
    card = train_ranker(**world.arguments(folder=str(world.folder / "whole")))
    stop_after(monkeypatch, 1)
    with pytest.raises(StopError):
        train_ranker(**world.arguments(checkpoint_every=3))
    cards = in_processes(2, world.folder, [(train_ranker, world.arguments())])[0]
    assert cards[0]["n_processes"] == 2
    for got, expected in zip(learnt(cards[0]), learnt(card), strict=True):
        assert got == pytest.approx(expected, abs=2e-4)
    for name, tensor in weights(str(world.folder / "work")).items():
        torch.testing.assert_close(tensor, weights(str(world.folder / "whole"))[name], rtol=1e-2, atol=1e-3)


def test_processes_that_find_different_checkpoints_do_not_go_on(make_world, monkeypatch):
    world = make_world()
    stop_after(monkeypatch, 1)
    with pytest.raises(StopError):
        train_ranker(**world.arguments())
    monkeypatch.setattr(Processes, "gather", lambda self, value: [value, "checkpoints/000000001.pt"])
    with pytest.raises(TrainingError, match=r"found different checkpoints .*: it must be a folder that all of them read alike"):
        train_ranker(**world.arguments())


def test_what_decides_no_weight_is_no_part_of_a_training():
    assert RankerOptions().identity() == RankerOptions(checkpoint_every=7, checkpoints_kept=9).identity()
    assert RankerOptions().identity() != RankerOptions(seed=1).identity()
