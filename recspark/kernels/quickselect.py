"""The n largest of distinct numbers, in any order: what lists of the best are cut with."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def keep_best(keys, beside, size, n):  # type: ignore[no-untyped-def]
    """The n largest of keys[:size] stand before the others (Hoare's selection), and `beside` (None: nothing) moves along."""
    low, high = 0, size - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left, right = low, high
        while left <= right:
            while keys[left] > pivot:
                left += 1
            while keys[right] < pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                if beside is not None:
                    beside[left], beside[right] = beside[right], beside[left]
                left += 1
                right -= 1
        if n - 1 <= right:
            high = right
        elif n - 1 >= left:
            low = left
        else:
            return
