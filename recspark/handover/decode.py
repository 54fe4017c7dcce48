"""Row groups of a Parquet file as numpy arrays, read through Petastorm: the only place that imports it.

Petastorm's worker reads each row group as an Arrow table. What Petastorm puts around it is left out, with a reason each:
its thread pool loses row groups at the end of its queue; its in-thread pool waits in steps of a tenth of a second for
the thread that hands out the numbers of row groups; its worker copies every table in the order that it already has; and its
queue turns lists into arrays through one Python object a row. Here lists become arrays by their offsets, without a copy.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

Columns = dict[str, np.ndarray]


def row_groups(url: str, names: Sequence[str]) -> list[Columns]:
    """The file's row groups in order: column -> [n], or [n x length] where it holds lists. Arrays are read-only.

    A column that the file lacks, or of a type that Petastorm does not know, is missing in them.

    Raises:
        ValueError: lists of several lengths, or nulls.
        OSError, pyarrow.ArrowException: the file cannot be read.
    """
    return [{name: _array(name, table.column(name)) for name in table.column_names} for table in _tables(url, names)]


def _tables(url: str, names: Sequence[str]) -> list[pa.Table]:
    from petastorm import arrow_reader_worker, cache, fs_utils
    from petastorm.etl import dataset_metadata

    class Worker(arrow_reader_worker.ArrowReaderWorker):
        def _load_rows(self, pq_file: Any, piece: Any, shuffle_row_drop_range: Any) -> pa.Table:
            return piece.read(columns=list(self._schema.fields))

    tables: list[pa.Table] = []
    with warnings.catch_warnings():
        # It warns of pyarrow's deprecated names, once a file.
        warnings.simplefilter("ignore")
        fs, paths = fs_utils.get_filesystem_and_path_or_paths([url])
        dataset = parquet.ParquetDataset(paths, filesystem=fs, validate_schema=False)
        schema = dataset_metadata.infer_or_load_unischema(dataset).create_schema_view([f"^{re.escape(name)}$" for name in names])
        pieces = dataset_metadata.load_row_groups(dataset)
        # Filesystem, paths, schema, n-grams, pieces, cache, transformation and its schema, filters, shuffling, its seed.
        given: tuple[Any, ...] = (fs, paths, schema, None, pieces, cache.NullCache(), None, schema, None, False, None)
        worker = Worker(0, tables.append, given)
        for piece in range(len(pieces)):
            worker.process(piece, None, (0, 1))
    return tables


def _array(name: str, column: pa.ChunkedArray) -> np.ndarray:
    chunk = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if chunk.null_count:
        raise ValueError(f"column {name!r} has {chunk.null_count} nulls")
    if not pa.types.is_list(chunk.type):
        return chunk.to_numpy(zero_copy_only=False)
    offsets = chunk.offsets.to_numpy()
    lengths = np.diff(offsets)
    if len(lengths) and (lengths != lengths[0]).any():
        raise ValueError(f"the lists of column {name!r} have lengths {lengths.min()} to {lengths.max()}")
    values = chunk.values.slice(offsets[0], offsets[-1] - offsets[0])
    if values.null_count:
        raise ValueError(f"the lists of column {name!r} hold {values.null_count} nulls")
    return values.to_numpy(zero_copy_only=False).reshape(len(chunk), -1)
