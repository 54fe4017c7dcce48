"""Arrays as compiled kernels take them."""

from __future__ import annotations

import numpy as np


def frozen(array: np.ndarray, dtype: type) -> np.ndarray:
    """A read-only, contiguous view (a copy only where the type differs): numba then compiles each kernel for one signature."""
    view: np.ndarray = np.ascontiguousarray(np.asarray(array), dtype=dtype).view()
    view.flags.writeable = False
    return view
