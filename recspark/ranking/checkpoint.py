"""What training leaves behind: checkpoints to go on from, and the finished artefact. Each is whole or not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import fsspec
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from recspark.errors import TrainingError
from recspark.handover.files import read_whole, remove, write_whole, writing_whole
from recspark.ranking.processes import Processes

FOLDER = "checkpoints"
# The checkpoints that count, the newest last: what a killed process left beside them does not.
INDEX = f"{FOLDER}/index.json"
WEIGHTS = "ranker/weights.safetensors"
CARD = "ranker/card.json"


@dataclass(frozen=True)
class Found:
    """The newest checkpoint of this training, and where there is none what differs in one of another training."""

    state: dict[str, Any] | None
    name: str = ""
    differ: tuple[str, ...] = ()


def _index(folder: str) -> list[str]:
    data = read_whole(f"{folder}/{INDEX}")
    return [] if data is None else json.loads(data)


def save_checkpoint(folder: str, number: int, state: Mapping[str, Any], keep: int) -> str:
    """Add `state` as checkpoint `number` (it grows as training goes on), keep the last `keep`; returns its name."""
    before = _index(folder)
    name = f"{FOLDER}/{number:09d}.pt"
    with writing_whole(f"{folder}/{name}") as file:
        torch.save(dict(state), file)
    # A later one was damaged: training went back behind it.
    kept = [*(one for one in before if one < name), name][-keep:]
    write_whole(f"{folder}/{INDEX}", json.dumps(kept).encode())
    for one in {*before} - {*kept}:
        remove(f"{folder}/{one}")
    return name


def load_checkpoint(folder: str, identity: Mapping[str, Any]) -> Found:
    """The newest checkpoint in the folder that can be read, if it is of this training: of the same data, model and parameters."""
    for name in reversed(_index(folder)):
        try:
            with fsspec.open(f"{folder}/{name}") as file:
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (FileNotFoundError, RuntimeError, EOFError, UnpicklingError):
            continue  # damaged on its disk: an older one is as good, only older
        found = state["identity"]
        differ = tuple(key for key in sorted({*found, *identity}) if found.get(key) != identity.get(key))
        return Found(None, name, differ) if differ else Found(state, name)
    return Found(None)


def drop_checkpoints(folder: str) -> None:
    """Remove the folder's checkpoints, if there are any."""
    remove(f"{folder}/{FOLDER}")


def save_artefact(folder: str, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights and card; the card last, for without it nobody takes the folder for a ranker. Returns the full card."""
    data = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    full = {**card, "digest": hashlib.sha256(data).hexdigest()}
    write_whole(f"{folder}/{WEIGHTS}", data)
    write_whole(f"{folder}/{CARD}", json.dumps(full, indent=1).encode())
    return full


def load_card(folder: str) -> dict[str, Any] | None:
    """The finished artefact's card; None while there is none."""
    data = read_whole(f"{folder}/{CARD}")
    return None if data is None else json.loads(data)


def finished_card(folder: str) -> dict[str, Any] | None:
    """The card of a training that has ended, whose checkpoints then go; None while there is none."""
    card = load_card(folder)
    if card is not None:
        drop_checkpoints(folder)
    return card


def keep_artefact(folder: str, weights: Mapping[str, Tensor], card: Mapping[str, Any], processes: Processes) -> dict[str, Any]:
    """The end of a training: the first process saves it and drops its checkpoints, every one returns the full card."""
    if processes.is_first:
        save_artefact(folder, weights, card)
        drop_checkpoints(folder)
    processes.wait()
    saved = load_card(folder)
    assert saved is not None
    return saved


def load_artefact(folder: str, digest: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card of a finished artefact; `digest`: that of the weights which are meant.

    Raises:
        TrainingError: it is not there, its weights are not those that the card was written for, or they are others than were meant.
    """
    card, data = load_card(folder), read_whole(f"{folder}/{WEIGHTS}")
    if card is None or data is None:
        raise TrainingError(f"there is no trained model in {folder}; run the job that trains it again")
    if hashlib.sha256(data).hexdigest() != card["digest"]:
        raise TrainingError(
            f"the weights in {folder} are not those of its card (SHA-256 {card['digest']}); run the job that trains it again"
        )
    if digest not in (None, card["digest"]):
        raise TrainingError(f"the model in {folder} is {card['digest']}, not {digest}; run the job that trains it again")
    return load_tensors(data), card
