"""A file of features, read a batch at a time."""

from pathlib import Path

import numpy as np


class Features:
    """Features of patches in a .npy file: float32 (patches, rows, columns, channels); `shape` is that of one patch's."""

    def __init__(self, path: Path):
        self.path = path
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape, self._offset, self._count = stored.shape[1:], stored.offset, len(stored)

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> np.ndarray:
        """Features of the patches ``start`` to ``stop``, float32 (stop - start, rows, columns, channels), read from the
        file: a memory map would count as memory of the process."""
        length = int(np.prod(self.shape))
        with open(self.path, "rb") as stream:
            values = np.fromfile(stream, np.float32, (stop - start) * length, offset=self._offset + 4 * start * length)
        return values.reshape(-1, *self.shape)
