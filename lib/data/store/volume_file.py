"""The bytes of one volume: reserved on the disk, written slice by slice by several processes at once, read back. The file is
a .npy, little-endian, (slices, rows, columns), under a temporary name until it is whole."""

import errno
import hashlib
import io
import mmap
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.artifacts.files import UMASK, sync, temporary_beside
from lib.data.dicom.slice import decode_hu, read_bytes
from lib.errors import DicomError, VolumeError

INT16, FLOAT32 = "<i2", "<f4"
BLOCK = 2**20  # bytes read back at a time


class Target(NamedTuple):
    """A volume being written: where it will be, where it is now, (slices, rows, columns), INT16 or FLOAT32."""

    path: Path
    temporary: Path
    shape: tuple[int, int, int]
    dtype: str

    @property
    def header(self) -> bytes:
        """What stands before the first slice, as `np.save` writes it."""
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": self.dtype, "fortran_order": False, "shape": self.shape})
        return file.getvalue()

    @property
    def slice_bytes(self) -> int:
        """Size of one slice in the file."""
        return self.shape[1] * self.shape[2] * np.dtype(self.dtype).itemsize


class Written(NamedTuple):
    """One slice."""

    source_sha256: str  # of its DICOM file
    crc32: int  # of the bytes handed to the disk


def allocate(path: Path, shape: tuple[int, int, int], dtype: str) -> Target:
    """Reserve a volume's whole size under a temporary name. Raises OSError, for one where the disk lacks the space."""
    target = Target(path, temporary_beside(path), shape, dtype)
    try:
        with target.temporary.open("wb") as file:
            place = file.write(target.header)
            _reserve(file.fileno(), place + shape[0] * target.slice_bytes)
    except BaseException:
        target.temporary.unlink(missing_ok=True)
        raise
    return target


def write_slices(target: Target, first: int, sources: list[Path]) -> list[Written | DicomError] | None:
    """Decode DICOM files and write their HU to the slices from `first` on; runs in a worker. Returns what was written for
    each file, or what is wrong with it; None if INT16 would lose something. Raises OSError if the disk refuses."""
    written: list[Written | DicomError] = []
    offset = len(target.header) + first * target.slice_bytes
    with target.temporary.open("r+b", buffering=0) as file:
        for place, source in enumerate(sources):
            try:
                data = read_bytes(source)
                hu = decode_hu(data, source)
                if hu.shape != target.shape[1:]:
                    raise DicomError(f"changed while it was read, now {hu.shape}", where=source,
                                     remedy="leave the data alone meanwhile")  # fmt: skip
            except DicomError as error:
                written.append(error)
                continue
            if hu.dtype != np.int16 and target.dtype == INT16:
                return None
            image = memoryview(np.ascontiguousarray(hu, target.dtype)).cast("B")
            _write_at(file.fileno(), image, offset + place * target.slice_bytes)
            written.append(Written(hashlib.sha256(data).hexdigest(), zlib.crc32(image)))
    return written


def settle(target: Target, checksums: list[int]) -> list:
    """Wait until a volume is on the disk, read it back from there and compare it with what was handed over. Returns what
    `lib.artifacts.files.fingerprint` does. Raises VolumeError if the disk holds something else, OSError if it refuses."""
    target.temporary.chmod(0o666 & ~UMASK)
    sync(target.temporary)
    whole, sums = hashlib.sha256(), [zlib.crc32(target.header), *checksums]
    ends = len(target.header) + target.slice_bytes * np.arange(len(sums))
    index, place, checksum = 0, 0, 0
    for block in _from_disk(target.temporary):
        whole.update(block)
        left = block
        while left and index < len(sums):
            piece, left = left[: ends[index] - place], left[ends[index] - place :]
            place, checksum = place + len(piece), zlib.crc32(piece, checksum)
            if place == ends[index]:
                if checksum != sums[index]:
                    break
                index, checksum = index + 1, 0
    if index < len(sums):
        what = f"{f'slice {index - 1}' if index else 'the header'} was read back other than it was written"
        raise VolumeError(what, where=target.path, remedy="check the disk, run it again")
    status = target.temporary.stat()
    return [status.st_size, status.st_mtime_ns, whole.hexdigest()]


def _from_disk(path: Path) -> Iterator[memoryview]:
    """A file's contents in blocks, past the cache where the file system can; each block is valid until the next."""
    buffer, place, size = memoryview(mmap.mmap(-1, BLOCK)), 0, path.stat().st_size
    for flags in (os.O_RDONLY | getattr(os, "O_DIRECT", 0), os.O_RDONLY):
        try:
            handle = os.open(path, flags)
            try:
                while place < size and (count := os.preadv(handle, [buffer], place)):
                    yield buffer[:count]
                    place += count
            finally:
                os.close(handle)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or flags == os.O_RDONLY:
                raise


def _reserve(handle: int, size: int) -> None:
    try:
        if hasattr(os, "posix_fallocate"):
            return os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    return os.ftruncate(handle, size)  # a file system that cannot reserve


def _write_at(handle: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(handle, data, offset)
        data, offset = data[count:], offset + count
