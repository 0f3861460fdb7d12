"""What is an axial CT slice in HU, and what only looks like one: each other kind is refused by its name."""

import re
from typing import NoReturn

from pydicom.datadict import tag_for_keyword
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, RawDataStorage, SecondaryCaptureImageStorage

from lib.data.dicom.elements import Elements
from lib.errors import DicomError

PROJECTION_TAGS = (0x70291010, 0x70291011, 0x70311001, 0x70331013, 0x70371009)  # private groups of DICOM-CT-PD
KIND_TAGS = (*PROJECTION_TAGS, *map(tag_for_keyword, (
    "SOPClassUID", "ImageType", "Modality", "NumberOfFrames", "RescaleType", "ImagePositionPatient")))
_CLASSES = {SecondaryCaptureImageStorage: "secondary capture", RawDataStorage: "raw data"}
# Words of ImageType (PS3.3, C.8.2.1.1.1 and C.8.15.3.9, and vendors' own from value 4 on) -> what such pixels are
_NO_HU = {
    "localizer": {"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"},
    "intensity projection": {"MIP", "MINIP", "MAXIP", "MAX_IP", "MIN_IP", "RAYSUM"},
    "perfusion map": {"PERFUSION", "CBF", "CBV", "MTT", "TTP", "TMAX", "RCBF", "RCBV", "PBV", "PERMEABILITY"},
    "material map": {"Z_EFF", "ZEFF", "EFFECTIVE_Z", "IODINE", "VNC", "VIRTUAL_NON_CONTRAST", "MATERIAL", "ELECTRON_DENSITY",
                     "MAT_SPECIFIC", "MAT_REMOVED", "MAT_FRACTIONAL", "MAT_MODIFIED", "MAT_VALUE_BASED"},
    "rendering": {"VRT", "SSD", "RENDERED", "RENDERING", "VOLUME_RENDERED", "SCREEN", "SCREENSAVE", "CURVED"},
    "subtraction image": {"SUBTRACTION", "SUBTRACTED"},
}
_KIND_OF_WORD = {word: kind for kind, words in _NO_HU.items() for word in words}


class NotCtImageError(DicomError):
    """A DICOM file of another kind (projection data, localizer, report, map, other modality); `code` names it."""


def check_kind(elements: Elements) -> None:
    """Raises NotCtImageError for what is no axial CT slice in HU by its class, modality, image type or rescale type (an
    orientation is looked at by `lib.data.dicom.geometry`), and DicomError for several frames or no readable modality."""
    modality, sop_class = str(elements.get("Modality") or ""), elements.get("SOPClassUID")
    private = any(tag in elements for tag in PROJECTION_TAGS) or sop_class == RawDataStorage
    if "ImagePositionPatient" not in elements and private:
        _refuse(elements, "projection data", "projection data (DICOM-CT-PD), not a CT image", "use the image folders")
    if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", modality):
        raise elements.error("no readable Modality, expected CT", "truncated or damaged, copy it again")
    if modality != "CT":
        _refuse(elements, f"modality {modality}", f"modality {modality}, expected CT", "use the CT images")
    if (frames := elements.integer("NumberOfFrames") or 1) > 1 or sop_class == EnhancedCTImageStorage:
        raise elements.error(f"multi-frame image with {frames} frames", "export one file per slice")
    for word in _words(elements):
        if kind := _KIND_OF_WORD.get(word):
            _refuse(elements, kind, f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} by its ImageType, no axial slice in HU",
                    "leave it out")
    if sop_class and sop_class != CTImageStorage:  # an anonymiser may have emptied it
        kind = _CLASSES.get(sop_class, "another SOP class") if isinstance(sop_class, str) else "another SOP class"
        _refuse(elements, kind, f"{kind}, expected CT Image Storage", "use the CT images")
    unit = elements.get("RescaleType")
    if unit not in (None, "", "HU"):
        shown = unit if isinstance(unit, str) and re.fullmatch(r"[A-Z0-9_]{1,16}", unit) else "of another unit"
        _refuse(elements, f"RescaleType {shown}", f"RescaleType is {shown}, expected HU", "export the CT images in HU")


def _words(elements: Elements) -> list[str]:
    """The values of ImageType, and their words."""
    value = elements.get("ImageType")
    values = [each.upper() for each in (value if isinstance(value, list) else [value or ""])]
    return values + [word for each in values for word in re.split(r"[^A-Z0-9_]+", each)]


def _refuse(elements: Elements, code: str, what: str, remedy: str) -> NoReturn:
    raise NotCtImageError(what, where=elements.path, remedy=remedy, code=code)
