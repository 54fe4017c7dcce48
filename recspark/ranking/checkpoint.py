"""What training leaves behind: a checkpoint to go on from, and the finished artefact. Each is whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from recspark.errors import TrainingError
from recspark.handover.files import read_whole, remove, write_whole

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "ranker/weights.safetensors"
CARD = "ranker/card.json"


def save_checkpoint(folder: str, state: Mapping[str, Any]) -> None:
    """Replace the folder's checkpoint by `state`."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(f"{folder}/{CHECKPOINT}", buffer.getvalue())


def load_checkpoint(folder: str, identity: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """The folder's checkpoint; None where there is none, or where it belongs to another training: then also what differs.

    Another training: other data, another model, other parameters.
    """
    data = read_whole(f"{folder}/{CHECKPOINT}")
    if data is None:
        return None, []
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    found = state["identity"]
    differ = [key for key in sorted({*found, *identity}) if found.get(key) != identity.get(key)]
    return (None, differ) if differ else (state, [])


def drop_checkpoint(folder: str) -> None:
    """Remove the folder's checkpoint, if there is one."""
    remove(f"{folder}/{CHECKPOINT}")


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


def load_artefact(folder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card of a finished artefact.

    Raises:
        TrainingError: it is not there, or its weights are not those that the card was written for.
    """
    card, data = load_card(folder), read_whole(f"{folder}/{WEIGHTS}")
    if card is None or data is None:
        raise TrainingError(f"there is no ranker in {folder}; run the job rankers again")
    if hashlib.sha256(data).hexdigest() != card["digest"]:
        raise TrainingError(f"the weights in {folder} are not those of its card (SHA-256 {card['digest']}); run the job rankers again")
    return load_tensors(data), card
