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

from recspark.handover.files import PROGRESS
from recspark.ranking import trainer
from recspark.ranking.checkpoint import CARD, CHECKPOINT, WEIGHTS
from recspark.ranking.train import train_ranker
from tests.slate_files import make_slates, plan_files


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(f"{folder}/{WEIGHTS}")


def assert_equal_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


class StopError(Exception):
    pass


def stop_after(monkeypatch, n_saves: int) -> None:
    """The training ends right after its n-th checkpoint; the next one is left alone."""
    saved, real = [], trainer.save_checkpoint

    def save_then_stop(*arguments):
        real(*arguments)
        saved.append(1)
        if len(saved) == n_saves:
            raise StopError

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
    assert again["curve"] == card["curve"]
    assert not (world.folder / "twice" / CHECKPOINT).exists(), "the artefact needs none"


def _counted_steps(monkeypatch) -> list[int]:
    """Fills, from now on, with the sample at which each step begins."""
    samples, real = [], trainer.Trainer._step

    def step(self, batch):
        samples.append(self.progress.sample)
        real(self, batch)

    monkeypatch.setattr(trainer.Trainer, "_step", step)
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
    path = world.folder / "work" / CHECKPOINT
    state = torch.load(path, weights_only=True)
    assert 0 < state["progress"]["seconds"] < 1000
    state["progress"]["seconds"] += 1000
    torch.save(state, path)
    assert 1000 < train_ranker(**world.arguments())["seconds"] < 2000


def _train_and_die(arguments: dict, n_saves: int) -> None:
    """A training process that the machine loses right after its n-th checkpoint, in the middle of an epoch."""
    real, saved = trainer.save_checkpoint, []

    def save_then_die(*given):
        real(*given)
        saved.append(1)
        if len(saved) == n_saves:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.save_checkpoint = save_then_die
    torch.set_num_threads(1)
    train_ranker(**arguments)


def _train_and_terminate(arguments: dict) -> None:
    """A training process that is told to stop in its second step."""
    real, steps = trainer.Trainer._step, []

    def step(self, batch):
        real(self, batch)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.Trainer._step = step
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
    state = torch.load(work / CHECKPOINT, weights_only=True)
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
    state = torch.load(Path(arguments["folder"]) / CHECKPOINT, weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["sample"]) == (0, 32)
    train_ranker(**arguments)
    assert_equal_bits(weights(arguments["folder"]), weights(str(world.folder / "whole")))
