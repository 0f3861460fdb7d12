"""HU back to stored values in the form of the slice that they were computed from: its bits, sign, slope and intercept, and
its padding where it was. A value that the form cannot hold saturates where the scan itself would."""

import numpy as np

from lib.data.dicom.elements import Elements
from lib.data.dicom.padding import CONVENTION
from lib.data.dicom.slice import Decoded


def encode(hu: np.ndarray, source: Decoded, elements: Elements) -> np.ndarray:
    """HU, (rows, columns), as stored values of the source's form, int16 or uint16.

    Padding of the source has the value that it had there. No other pixel gets a value that stands for padding: it takes the
    nearest one that does not. The rest is within half a step of the rescale slope. Raises ValueError for HU that are not
    finite, or of another shape.
    """
    form = source.form
    if hu.shape != source.stored.shape or not np.isfinite(hu).all():
        raise ValueError(f"HU of shape {hu.shape}: expected finite numbers of shape {source.stored.shape}")
    half = 2 ** (form.bits_stored - 1)
    lowest, highest = (-half, half - 1) if form.signed else (0, 2 * half - 1)
    values = np.clip(np.rint((np.asarray(hu, np.float64) - form.intercept) / form.slope), lowest, highest).astype(np.int64)
    for low, high in _reserved(source, elements):
        taken = (values >= low) & (values <= high)
        below, above = low - 1 >= lowest, high + 1 <= highest
        down = below and (not above or values - low < high - values)
        values = np.where(taken, np.where(down, low - 1, high + 1 if above else values), values)
    values = values.astype(source.stored.dtype)
    return values if source.outside is None else np.where(source.outside, source.stored, values)


def _reserved(source: Decoded, elements: Elements) -> list[tuple[int, int]]:
    """The ranges of stored values that stand for padding in this slice."""
    found = []
    if source.outside is not None:
        convention = int(np.array(CONVENTION).astype(source.stored.dtype))
        found += [(convention, convention)] * bool((source.stored[source.outside] == convention).any())
    if (value := elements.word("PixelPaddingValue", source.form.signed)) is not None:
        limit = elements.word("PixelPaddingRangeLimit", source.form.signed)
        found.append(tuple(sorted((value, value if limit is None else limit))))
    return found
