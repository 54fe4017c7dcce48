"""Small files that are there whole or not at all. Paths are URLs, as fsspec reads them."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

# Where a training process, or a task of a fit, says how far it is, in its working folder; the driver shows it.
PROGRESS = "progress.json"


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether its paths are this machine's."""
    return isinstance(fs, LocalFileSystem)


@contextmanager
def writing_whole(url: str) -> Iterator[IO[bytes]]:
    """A file to write to, which becomes `url` once the block ends without an error: all of it, or what was there before."""
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(os.path.dirname(path), exist_ok=True)
    if is_local(fs):
        aside = f"{path}.{uuid.uuid4().hex}.part"
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
    else:
        # An object store shows an object only once all of it has arrived.
        with tempfile.NamedTemporaryFile() as file:
            yield file
            file.flush()
            fs.put_file(file.name, path)


def write_whole(url: str, data: bytes) -> None:
    """Write `data` to `url`: a reader, or a run after a crash, sees all of it or what was there before."""
    with writing_whole(url) as file:
        file.write(data)


def read_whole(url: str) -> bytes | None:
    """The file's bytes; None where there is none."""
    fs, path = fsspec.core.url_to_fs(url)
    try:
        data: bytes = fs.cat_file(path)
    except FileNotFoundError:
        return None
    return data


def is_there(url: str) -> bool:
    """Whether there is such a file."""
    fs, path = fsspec.core.url_to_fs(url)
    return bool(fs.exists(path))


def remove(url: str) -> None:
    """Remove the file, or the folder with all in it; nothing where there is none."""
    fs, path = fsspec.core.url_to_fs(url)
    with suppress(FileNotFoundError):
        fs.rm(path, recursive=True)
