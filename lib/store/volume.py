"""The bytes of one volume: reserved on the disk, written slice by slice by several processes at once, read back.

The file is a .npy, little-endian, (slices, rows, columns), under a temporary name until it is whole.
"""

import errno
import hashlib
import io
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.cohort.dicom import decode_hu
from lib.errors import DicomError, VolumeError
from lib.provenance import sync, temporary_beside

INT16, FLOAT32 = "<i2", "<f4"


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
        description = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, description)
        return file.getvalue()

    @property
    def slice_bytes(self) -> int:
        """Size of one slice in the file."""
        return self.shape[1] * self.shape[2] * np.dtype(self.dtype).itemsize


class Written(NamedTuple):
    """One slice: the SHA-256 of its DICOM file, and the CRC-32 of the bytes handed to the disk."""

    source_sha256: str
    crc32: int


def allocate(path: Path, shape: tuple[int, int, int], dtype: str) -> Target:
    """Reserve a volume's whole size under a temporary name. Raises OSError, for one where the disk lacks the space."""
    target = Target(path, temporary_beside(path), shape, dtype)
    header = target.header
    try:
        with target.temporary.open("wb") as file:
            file.write(header)
            _reserve(file.fileno(), len(header) + shape[0] * target.slice_bytes)
    except BaseException:
        target.temporary.unlink(missing_ok=True)
        raise
    return target


def write_slices(target: Target, first: int, sources: list[Path]) -> list[Written | str] | None:
    """Decode DICOM files and write their HU to the slices from `first` on. Runs in a worker.

    Returns:
        What was written for each file, or what is wrong with it; None if INT16 would lose something.

    Raises:
        OSError: the volume cannot be written.
    """
    told: list[Written | str] = []
    offset = len(target.header) + first * target.slice_bytes
    with target.temporary.open("r+b", buffering=0) as file:
        for place, source in enumerate(sources):
            try:
                data = source.read_bytes()
                hu = decode_hu(data, source)
                if hu.shape != target.shape[1:]:
                    raise DicomError(f"{source}: changed while it was read, now {hu.shape}; leave the data alone meanwhile")
            except DicomError as error:
                told.append(str(error))
                continue
            except OSError as error:
                told.append(f"{source}: cannot be read ({error.strerror}); check the file's permissions and the disk")
                continue
            if hu.dtype != np.int16 and target.dtype == INT16:
                return None
            image = memoryview(np.ascontiguousarray(hu, target.dtype)).cast("B")
            _write_at(file.fileno(), image, offset + place * target.slice_bytes)
            told.append(Written(hashlib.sha256(data).hexdigest(), zlib.crc32(image)))
    return told


def flush(target: Target) -> None:
    """Wait until a volume is on the disk. Raises OSError if the disk refuses."""
    target.temporary.chmod(0o644)
    sync(target.temporary)


def verify(target: Target, checksums: list[int]) -> list:
    """Read a volume back from the disk and compare it with what was handed over. Runs in a worker.

    Returns:
        Size, modification time in ns and SHA-256 of the file, as `lib.provenance.fingerprint`.

    Raises:
        VolumeError: the disk holds something else.
    """
    whole, image = hashlib.sha256(), memoryview(bytearray(target.slice_bytes))
    with target.temporary.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # out of the cache: what counts is what the disk holds
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        header = file.read(len(target.header))
        whole.update(header)
        for index, checksum in enumerate(checksums):
            if header != target.header or _fill(file, image) != len(image) or zlib.crc32(image) != checksum:
                raise VolumeError(
                    f"{target.path}: slice {index} was read back other than it was written; check the disk, run it again"
                )
            whole.update(image)
        status = os.fstat(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return [status.st_size, status.st_mtime_ns, whole.hexdigest()]


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


def _fill(file, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer) and (count := file.readinto(buffer[filled:])):
        filled += count
    return filled
