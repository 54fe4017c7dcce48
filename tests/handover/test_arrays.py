"""Arrays that are published once and mapped by everyone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from recspark.handover.arrays import _open, publish

ARRAYS = {"idx": np.arange(5, dtype=np.int32), "vector": np.arange(10, dtype=np.float32).reshape(5, 2), "empty": np.zeros((0, 3))}


def assert_published(published) -> None:
    found = published.arrays()
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name", ["plain", "a folder", "50%25", "week #3", "what?", "both?#"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_any_folder_of_this_machine(tmp_path, scheme, name):
    published = publish(ARRAYS, f"{scheme}{tmp_path}/{name}")
    assert (tmp_path / name / published.digest / "idx.npy").exists()
    assert_published(published)
    assert isinstance(published.arrays()["idx"], np.memmap)


def test_the_name_is_the_content():
    folder = "memory://one"
    same = [publish(ARRAYS, folder).url, publish(dict(reversed(ARRAYS.items())), folder).url]
    assert same[0] == same[1] != publish(ARRAYS | {"idx": np.arange(6)}, folder).url


def test_elsewhere_they_are_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    published = publish(ARRAYS, "memory://two")
    assert_published(published)
    fsspec.filesystem("memory").rm("/two", recursive=True)
    _open.cache_clear()
    assert_published(published)
    assert not list(tmp_path.rglob("*.part"))


def test_threads_that_publish_the_same_at_once(tmp_path: Path):
    arrays = {f"a{i}": np.full(1000, i) for i in range(20)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: publish(arrays, str(tmp_path)), range(8)))
    assert len({one.url for one in found}) == 1
    assert all((found[0].arrays()[name] == array).all() for name, array in arrays.items())
    assert not list(tmp_path.rglob("*.part"))
