"""The header of a slice that was computed from another one: a new instance of a new series in the study of its source
(PS3.3, C.7.6.1 and C.12.1), which names what it was computed from and by what. The scanner's own numbers stay."""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    generate_uid,
)

from lib.data.dicom.elements import Elements, label

NOTICE = "RESEARCH USE ONLY. NOT FOR DIAGNOSIS."
DENOISED = "DENOISED"  # the last value of ImageType
SERIES_AFTER = 10_000  # what is added to a series number
# Transfer syntaxes that are lossy whatever the header says, and the method that the standard names for each
LOSSY = {JPEGBaseline8Bit: "ISO_10918_1", JPEGExtended12Bit: "ISO_10918_1", JPEGLSNearLossless: "ISO_14495_1"}
_SHORT, _LONG = 64, 1024  # characters of the VRs LO and ST
_LARGEST_IS = 2**31 - 1
# What is true of the source's own pixels, or of its file, alone
_OF_THE_SOURCE = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "IconImageSequence", "ModalityLUTSequence", "DigitalSignaturesSequence", "MACParametersSequence",
    "EncryptedAttributesSequence", "DataSetTrailingPadding", "InstanceCreatorUID", "SOPInstanceStatus",
    "SOPAuthorizationDateTime", "SOPAuthorizationComment", "AuthorizationEquipmentCertificationNumber",
    "SourceImageSequence", "PixelDataProviderURL",
)
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# Type 2 of the CT Image IOD's mandatory modules: there, if empty
_THERE = (
    "StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "ReferringPhysicianName", "PatientName", "PatientID",
    "PatientBirthDate", "PatientSex", "SliceThickness", "KVP", "StudyID", "SeriesNumber", "AcquisitionNumber",
    "InstanceNumber", "PositionReferenceIndicator",
)
# Parts of which there is one: only of another one the standard wants to hear left, right or, if empty, unknown
_UNPAIRED = {"ABDOMEN", "BRAIN", "CHEST", "CSPINE", "HEAD", "HEART", "LIVER", "LSPINE", "NECK", "PELVIS", "SKULL", "SPINE",
             "THORAX", "TSPINE", "WHOLEBODY"}


@dataclass(frozen=True)
class Derivation:
    """What was done to every slice of a series."""

    text: str  # for DerivationDescription, in ASCII; has NOTICE in it
    flags: str  # what readers must know of the images, '' for nothing
    name: str  # of the method, behind the description of the series
    equipment: str  # the method's name among the contributing equipment
    version: str  # of the software
    entropy: tuple[str, ...]  # what new UIDs hang on, beside those of the source
    moment: datetime  # of the computation, with its time zone


def new_uid(*entropy: str) -> str:
    """A UID out of these texts: the same ones, the same UID."""
    return generate_uid(entropy_srcs=["derived CT series", *entropy])


def standard_elements(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """A copy of what the standard defines in a parsed header, sequences included, and the names of what cannot be read.

    Private elements, curves and overlays are left out: nobody but their maker can say whether they hold for other pixels.
    """
    made, unreadable = Dataset(), []
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag.group >> 8 in (0x50, 0x60):
            continue
        try:
            element = dataset[tag]
        except Exception:  # noqa: BLE001 - pydicom raises many kinds for values that are none
            unreadable.append(label(int(tag)))
            continue
        if element.VR == "SQ":
            items = [standard_elements(item) for item in element.value]
            unreadable += [name for _, names in items for name in names]
            element = DataElement(tag, "SQ", Items([item for item, _ in items]))
        if element.VR == "UN":
            unreadable.append(label(int(tag)))
        else:
            made.add(element)
    return made, unreadable


def source_header(elements: Elements, stack: str) -> tuple[Dataset, list[str]]:
    """:func:`standard_elements` of a CT slice with what every one must have: UIDs that a header lacks are the file's, or
    made from the file's contents and from ``stack``, a text that all slices of its series have in common. ``elements`` have
    been read for good then: they are what pydicom makes of them."""
    with warnings.catch_warnings():  # pydicom's of odd values, which stay what they are
        warnings.simplefilter("ignore")
        header, unreadable = standard_elements(elements.dataset)
        for name in _UIDS:
            if isinstance(header.get(name), MultiValue):  # damage: none of them is the one
                delattr(header, name)
        if not header.get("SOPInstanceUID"):
            meta = pydicom.dcmread(io.BytesIO(elements.data), specific_tags=[], stop_before_pixels=True).file_meta
            own = meta.get("MediaStorageSOPInstanceUID") if elements.data[128:132] == b"DICM" else None
            header.SOPInstanceUID = own or new_uid("instance", hashlib.sha256(elements.data).hexdigest())
    if "SpecificCharacterSet" in header and not header.SpecificCharacterSet:
        del header.SpecificCharacterSet
    if "RescaleType" in header and not header.RescaleType:
        header.RescaleType = "HU"
    header.SOPClassUID, header.Modality = CTImageStorage, "CT"
    for name in _UIDS[1:]:
        if not header.get(name):
            setattr(header, name, new_uid(name, stack))
    for name in _THERE:
        if name not in header:
            setattr(header, name, None)
    if "ImageLaterality" not in header and "Laterality" not in header and _text(header, "BodyPartExamined") not in _UNPAIRED:
        header.Laterality = None
    return header, unreadable


def derive(header: Dataset, elements: Elements, stored: np.ndarray, derivation: Derivation) -> Dataset:
    """The derived instance, to be saved as a file, of a source's ``header``, which is changed.

    ``stored`` are the new stored values in the form of the source, ``elements`` are the source's.
    """
    ds = header
    for name in _OF_THE_SOURCE:
        if name in ds:
            delattr(ds, name)
    source, series = ds.SOPInstanceUID, ds.SeriesInstanceUID
    ds.SOPInstanceUID, ds.SeriesInstanceUID = new_uid(source, *derivation.entropy), new_uid(series, *derivation.entropy)
    ds.file_meta = _file_meta(ds.SOPInstanceUID)
    _name(ds, derivation)
    _credit(ds, source, derivation)
    if elements.syntax in LOSSY and ds.get("LossyImageCompression") != "01":
        ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", LOSSY[elements.syntax]
        ds.LossyImageCompressionRatio = f"{stored.nbytes / (elements.size - elements.pixels.offset):.4g}"
    signed = stored.dtype.kind == "i"
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if (value := elements.word(name, signed)) is not None:
            ds[name] = DataElement(name, "SS" if signed else "US", value)
    ds.add_new("PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())
    return ds


def _file_meta(instance: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(new_uid("implementation")), "PERCEPTUAL_1"
    return meta


def _name(ds: Dataset, derivation: Derivation) -> None:
    """What people see of the series and the image."""
    words = [str(each) for each in (ds.get("ImageType") or [])][3:] if not isinstance(ds.get("ImageType"), str) else []
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", *(word for word in words if word != DENOISED), DENOISED]
    suffix = f"[{derivation.name}, research only]"[:_SHORT]
    before = _text(ds, "SeriesDescription")[: max(0, _SHORT - 1 - len(suffix))]
    ds.SeriesDescription = f"{before} {suffix}".strip()
    number = ds.get("SeriesNumber")  # text where it is none that the VR can have, several where it is damaged
    ds.SeriesNumber = min(SERIES_AFTER + number if isinstance(number, int) else SERIES_AFTER, _LARGEST_IS)
    ds.DerivationDescription = _first(derivation.text, _text(ds, "DerivationDescription"))
    ds.ImageComments = _first(f"{NOTICE} {derivation.flags}".strip(), _text(ds, "ImageComments"))
    moment = derivation.moment.astimezone(_zone(ds.get("TimezoneOffsetFromUTC")))
    ds.InstanceCreationDate, ds.InstanceCreationTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def _credit(ds: Dataset, source: str, derivation: Derivation) -> None:
    """By which operation, from which image, by what equipment."""
    ds.DerivationCodeSequence = Items([*(ds.get("DerivationCodeSequence") or []), _code(codes.DCM.Smoothing)])
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, source
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = Items([_code(codes.DCM.SourceImageForImageProcessingOperation)])
    ds.SourceImageSequence = Items([image])
    equipment = Dataset()
    equipment.Manufacturer, equipment.ManufacturerModelName = "Perceptual Influence", derivation.equipment[:_SHORT]
    equipment.SoftwareVersions = derivation.version[:_SHORT]
    equipment.ContributionDateTime = derivation.moment.strftime("%Y%m%d%H%M%S%z")
    equipment.ContributionDescription = derivation.text[:_LONG]
    equipment.PurposeOfReferenceCodeSequence = Items([_code(codes.DCM.ProcessingEquipment)])
    ds.ContributingEquipmentSequence = Items([*(ds.get("ContributingEquipmentSequence") or []), equipment])


def _code(concept) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = concept.value, concept.scheme_designator, concept.meaning
    return item


def _text(ds: Dataset, name: str) -> str:
    """An element's text, that of several values as one, '' for none."""
    value = ds.get(name)
    parts = value if isinstance(value, MultiValue) else [value]
    return " ".join(str(each).strip() for each in parts if each is not None).strip()


def _first(text: str, before: str) -> str:
    """A text before what stood there, as far as there is room."""
    return (f"{text} | before: {before}" if before else text)[:_LONG]


def _zone(offset: object) -> timezone | None:
    """Of TimezoneOffsetFromUTC, '-0500'; None, where there is none, for that of this machine."""
    text = str(offset or "").strip()
    if not re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", text, re.ASCII):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
