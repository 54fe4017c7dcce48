"""Item-sized tables as arrays that every task and training process maps into memory instead of copying."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import fsspec
import numpy as np

from recspark.handover.files import is_local


@dataclass(frozen=True)
class Published:
    """Arrays by name, published under a URL as one .npy file each. Small enough to travel in a closure.

    `shapes` lets a caller size its own arrays before anything is read.
    """

    url: str
    digest: str
    shapes: Mapping[str, tuple[int, ...]] = field(compare=False)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays, read-only. On a local file system they are mapped; elsewhere fetched once per node, then mapped."""
        return _open(self.url, self.digest, tuple(self.shapes))


def publish(arrays: Mapping[str, np.ndarray], folder: str) -> Published:
    """Write `arrays` below `folder` (a URL or path), in a sub-folder named after their content."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        content.update(array.view(np.uint8).reshape(-1).data if array.size else b"")
    digest = content.hexdigest()[:24]
    url = f"{folder.rstrip('/')}/{digest}"
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path, exist_ok=True)
    for name, array in arrays.items():
        target = f"{path}/{name}.npy"
        if fs.exists(target):
            continue
        # Written aside and moved, so that a reader never maps half a file.
        aside = f"{target}.{uuid.uuid4().hex}.part"
        with fs.open(aside, "wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        if is_local(fs):
            os.replace(aside, target)
        else:
            fs.mv(aside, target)
    return Published(url, digest, {name: tuple(array.shape) for name, array in arrays.items()})


@lru_cache(maxsize=16)
def _open(url: str, digest: str, names: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    folder = _local_folder(url, digest, names)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}


def _local_folder(url: str, digest: str, names: tuple[str, ...]) -> Path:
    fs, path = fsspec.core.url_to_fs(url)
    if is_local(fs):
        return Path(path)
    folder = Path(tempfile.gettempdir()) / "recspark-arrays" / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = folder / f"{name}.npy"
        if not target.exists():
            aside = folder / f"{name}.npy.{uuid.uuid4().hex}.part"
            fs.get(f"{path}/{name}.npy", str(aside))
            os.replace(aside, target)
    return folder
