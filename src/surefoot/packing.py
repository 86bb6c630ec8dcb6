"""Named fields side by side in one float32 array, so that a step moves one array instead of many."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

# An integer is the width of a vector field, (..., width); "scalar" and "flag" are fields without that last axis.
Width = int | Literal["scalar", "flag"]


class Layout:
    """The position of each named field in the last axis of a packed array.

    Flags are stored as 0 and 1 and read as booleans.

    Args:
        **widths: the fields in order, with their widths.

    Attributes:
        size: width of a packed row, the sum of all fields.
        names: names of the fields, in order.
    """

    def __init__(self, **widths: Width) -> None:
        self._widths = widths
        self._columns: dict[str, slice] = {}
        self.size = 0
        for name, width in widths.items():
            count = width if isinstance(width, int) else 1
            self._columns[name] = slice(self.size, self.size + count)
            self.size += count
        self.names = tuple(widths)

    def columns(self, name: str) -> slice:
        """Columns of a field."""
        return self._columns[name]

    def read(self, packed: Any, name: str) -> Any:
        """Return one field of `packed` (..., size): (..., width), or (...) for scalars and flags."""
        width, columns = self._widths[name], self._columns[name]
        if isinstance(width, int):
            return packed[..., columns]
        value = packed[..., columns.start]
        return value > 0.5 if width == "flag" else value

    def unpack(self, packed: Any) -> dict[str, Any]:
        """Return all fields of `packed` (..., size) by name; NumPy fields other than flags are views."""
        return {name: self.read(packed, name) for name in self._widths}

    def pack(self, fields: Mapping[str, Any], xp: Any) -> Any:
        """Concatenate all fields into a new (..., size) array of `xp`, which is `numpy` or `jax.numpy`."""
        parts = ((xp.asarray(fields[name], xp.float32), width) for name, width in self._widths.items())
        columns = [part if isinstance(width, int) else part[..., None] for part, width in parts]
        return xp.concatenate(columns, axis=-1)

    def write(self, packed: np.ndarray, fields: Mapping[str, Any]) -> None:
        """Write some fields into a NumPy array (..., size) in place."""
        for name, value in fields.items():
            columns = self._columns[name]
            packed[..., columns if isinstance(self._widths[name], int) else columns.start] = value
