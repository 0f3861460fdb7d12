"""Pixels outside what a scanner reconstructed (PS3.3, C.7.5.1.1.2): values that stand for no HU, and become air."""

import numpy as np
from scipy import ndimage

from lib.data.dicom.elements import Elements
from lib.data.dicom.pixels import LARGEST_HU, PixelForm

CONVENTION = -2000  # stored outside the reconstruction circle by several vendors, declared or not
AIR = -1024  # HU


def padding(stored: np.ndarray, elements: Elements, form: PixelForm) -> np.ndarray | None:
    """Which stored values, (rows, columns), are padding: bool of that shape, or None for none.

    These are -2000 (also as the unsigned number of the same bits), and what PixelPaddingValue and PixelPaddingRangeLimit
    declare. Those whose HU a body could have, water for example, count only where they touch the image's border. Raises
    DicomError for a declaration that is no number.
    """
    convention = np.array(CONVENTION).astype(stored.dtype)
    lowest, highest = stored.min(), stored.max()
    found = stored == convention if lowest <= convention <= highest else np.zeros(stored.shape, bool)
    if AIR < int(convention) * form.slope + form.intercept <= LARGEST_HU:
        found = _touching_the_border(found)
    if (value := elements.word("PixelPaddingValue", form.signed)) is not None:
        limit = elements.word("PixelPaddingRangeLimit", form.signed)
        low, high = sorted((value, value if limit is None else limit))
        declared = (stored >= low) & (stored <= high)
        if high * form.slope + form.intercept > AIR:
            declared = _touching_the_border(declared)
        found |= declared
    return found if found.any() else None


def _touching_the_border(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return mask & np.isin(labels, edges[edges > 0])
