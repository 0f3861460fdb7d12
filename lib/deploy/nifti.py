"""A CT volume as NIfTI, to NIfTI. A NIfTI file says neither kernel nor modality: its numbers are taken as HU, and slices lie
along its third axis, whatever its orientation. One slice is in memory at a time."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from tqdm import tqdm

from lib.artifacts.files import atomic
from lib.data.hu import BODY_HU
from lib.deploy.model import Model
from lib.deploy.trained_range import Reason, Scan, TrainedRange
from lib.errors import CohortError

ENDINGS: Final = (".nii", ".nii.gz")
AXIAL: Final = 0.8  # cosine between the third axis and the body's, from which on slices count as axial
_DAMAGED: Final = (OSError, EOFError, zlib.error)
_CUT: Final = "cannot be read, truncated or damaged"
_REMEDY: Final = "pass a CT volume of three dimensions in HU, uncompressed or as .nii.gz"


def is_nifti(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.name.lower().endswith(ENDINGS)


@dataclass(frozen=True)
class Volume:
    """One file."""

    path: Path

    form = "NIfTI"
    kernel = None
    thickness_mm = None  # of a slice; the distance of slices is another thing
    image_type = ""

    @cached_property
    def image(self) -> nibabel.Nifti1Image:
        """The image as nibabel reads it, whose voxels stay in the file. Raises CohortError for what is no volume."""
        try:
            image = nibabel.load(self.path, keep_file_open=True)
        except HeaderDataError as error:
            raise self._error(f"no NIfTI file ({' '.join(str(error).split())[:80]})") from None
        except (nibabel.filebasedimages.ImageFileError, ValueError, *_DAMAGED) as error:  # whose texts hold the file's name
            refused = getattr(error, "strerror", None)
            raise self._error(f"cannot be read ({refused})" if refused else "no NIfTI file, or a damaged one") from None
        if not isinstance(image, nibabel.Nifti1Image):
            raise self._error(f"no NIfTI file but {type(image).__name__}")
        sizes = image.shape
        if len(sizes) < 3 or max(sizes[3:], default=1) > 1 or min(sizes) < 1 or image.get_data_dtype().kind not in "iuf":
            raise self._error(f"{image.get_data_dtype()} of shape {tuple(sizes)}, expected a volume of numbers")
        if not np.isfinite(image.affine).all() or nibabel.affines.voxel_sizes(image.affine).min() <= 0:
            raise self._error("an affine that gives voxels no size")
        return image

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, and rows and columns of a slice as a scanner lays it out."""
        columns, rows, slices = self.image.shape[:3]
        return (slices, columns, rows) if self._flips[0] else (slices, rows, columns)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, and of rows and columns as :attr:`shape` has them."""
        columns, rows, slices = map(float, nibabel.affines.voxel_sizes(self.image.affine))
        return (slices, columns, rows) if self._flips[0] else (slices, rows, columns)

    @cached_property
    def state(self) -> str:
        """A hash of what changes with the file."""
        status = self.path.stat()
        return hashlib.sha256(repr((str(self.path), status.st_size, status.st_mtime_ns)).encode(
            "utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest number. Raises CohortError: one is not finite, or the file is damaged."""
        self._check_sum()
        ends = np.array([(image.min(), image.max()) for image in map(self._slice, range(self.shape[0]))])
        if not np.isfinite(ends).all():
            raise self._error("voxels that are no finite numbers")
        return float(ends[:, 0].min()), float(ends[:, 1].max())

    def reasons(self, seen: TrainedRange) -> tuple[list[Reason], float]:
        """In what the volume lies outside of what was trained on, and the share of its voxels outside the HU range. Reads
        every slice. Raises CohortError."""
        lowest = self.ends[0]
        counts = [np.count_nonzero((image < seen.hu[0]) | (image > seen.hu[1]))
                  for image in map(self._slice, range(self.shape[0]))]
        share = sum(counts) / math.prod(self.shape)
        found = seen.reasons(Scan(None, None, self.spacing_mm[1:], share))
        if lowest > BODY_HU:
            found.append(Reason("lowest number", lowest, (seen.hu[0], BODY_HU)))
        if not (int(self.image.header["sform_code"]) or int(self.image.header["qform_code"])):
            found.append(Reason("plane", None, ("axial",)))  # nibabel makes an affine up
        axes = self.image.affine[:3, :3] / np.linalg.norm(self.image.affine[:3, :3], axis=0)
        if abs(axes[2, 2]) < AXIAL:
            found.append(Reason("plane", "sagittal, coronal or oblique along the third axis", ("axial",)))
        return found, share

    def block(self, first: int, count: int) -> np.ndarray:
        """HU of some slices, (slices, rows, columns), float32, as a scanner lays them out."""
        return np.stack([self._oriented(self._slice(k)) for k in range(first, min(first + count, self.shape[0]))])

    def write(self, folder: Path, model: Model, text: str) -> None:
        """Denoise the volume into ``folder``, with the same affine: int16 where the input has whole numbers of that range,
        else float32; ``text`` stands in the header."""
        whole = self.image.get_data_dtype().kind in "iu" and all(
            float(each).is_integer() for each in (self.image.dataobj.slope, self.image.dataobj.inter))
        limits = np.iinfo(np.int16)
        kind = np.dtype("<i2" if whole and limits.min <= self.ends[0] and self.ends[1] <= limits.max else "<f4")
        header = type(self.image.header)(endianness="<")
        for name in ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
                     "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
            header[name] = self.image.header[name]
        header.set_data_dtype(kind)
        header.set_data_shape(self.image.shape[:3])
        header.set_slope_inter(1, 0)
        header["descrip"] = text.encode("ascii", "replace")[:79]
        header["vox_offset"] = header.single_vox_offset
        ending = ENDINGS[self.path.name.lower().endswith(ENDINGS[1])]
        with atomic(folder / f"volume{ending}", durable=False) as temporary, _opened(temporary, ending) as stream:
            header.write_to(stream)  # without extensions: they can hold names
            for k in tqdm(range(self.shape[0]), desc="denoising", unit="slice", mininterval=1.0):
                result = self._oriented(model.denoise(self._oriented(self._slice(k))[None])[0], back=True)
                result = np.rint(result) if kind.kind == "i" else result
                stream.write(result.T.astype(kind).tobytes(order="F"))

    @cached_property
    def _flips(self) -> tuple[bool, bool, bool]:
        """Whether an axial slice, (second axis, first axis), is to be transposed, and then its rows and columns to be turned
        round, so that rows count to the patient's back and columns to the left; nothing in other planes."""
        orientation = nibabel.io_orientation(self.image.affine)
        if np.isnan(orientation).any() or orientation[2, 0] != 2:
            return False, False, False
        transposed = orientation[0, 0] == 1
        columns, rows = orientation[[1, 0] if transposed else [0, 1], 1]  # +1: to the right, to the front
        return bool(transposed), bool(rows > 0), bool(columns > 0)

    def _oriented(self, image: np.ndarray, back: bool = False) -> np.ndarray:
        transposed, rows, columns = self._flips
        if back:
            image = image[:: -1 if rows else 1, :: -1 if columns else 1]
            return image.T if transposed else image
        image = image.T if transposed else image
        return image[:: -1 if rows else 1, :: -1 if columns else 1]

    def _slice(self, k: int) -> np.ndarray:
        """Slice k as it lies in the file, (second axis, first axis), float32."""
        try:
            found = np.asarray(self.image.dataobj[(slice(None), slice(None), k, *[0] * (len(self.image.shape) - 3))])
        except (ValueError, *_DAMAGED):
            raise self._error(_CUT) from None
        return found.astype(np.float32).T

    def _check_sum(self) -> None:
        """Read a compressed file to its end, where its checksum stands: who reads voxels alone does not get there."""
        if not self.path.name.lower().endswith(ENDINGS[1]):
            return
        try:
            with gzip.open(self.path) as stream:
                while stream.read(2**20):
                    pass
        except _DAMAGED:
            raise self._error(_CUT) from None

    def _error(self, what: str) -> CohortError:
        return CohortError(what, where=self.path, remedy=_REMEDY)


@contextmanager
def _opened(path: Path, ending: str) -> Iterator[IO[bytes]]:
    """For writing; compressed files have no time and no name in them."""
    with path.open("wb") as stream:
        if ending == ENDINGS[0]:
            yield stream
        else:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0) as packed:
                yield packed
