"""A CT header without identity, by what is kept and not by what is taken away: numbers of the acquisition, of the place and
of the pixels stay, all else goes, with it everything that the Basic Application Level Confidentiality Profile names (PS3.15,
Annex E). UIDs and the patient have pseudonyms out of a secret that ends with the run, so that nobody can look them up.

The pixels are as they were: a head can be recognised by its face, and text in an image can be read.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes

from lib.data.dicom.derived import new_uid

METHOD = ("Basic Application Confidentiality Profile", "only listed elements were kept", "pixels were not cleaned")
# Elements with numbers or defined terms that say nothing of a person, a place, a device or a time
_KEPT = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName",
    "BodyPartExamined", "ScanOptions", "SliceThickness", "KVP", "SpacingBetweenSlices", "DataCollectionDiameter",
    "ReconstructionDiameter", "DistanceSourceToDetector", "DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight",
    "RotationDirection", "ExposureTime", "XRayTubeCurrent", "Exposure", "FilterType", "GeneratorPower", "FocalSpots",
    "ConvolutionKernel", "PatientPosition", "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth",
    "TableSpeed", "TableFeedPerRotation", "SpiralPitchFactor", "ExposureModulationType", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "BurnedInAnnotation", "WindowCenter",
    "WindowWidth", "RescaleIntercept", "RescaleSlope", "RescaleType", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
_EMPTY = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
          "PositionReferenceIndicator")


@dataclass(frozen=True)
class Pseudonyms:
    """Of one run: equal originals, equal pseudonyms; those of another run are others."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def uid(self, original: str) -> str:
        """In place of a UID."""
        return new_uid(self._keyed("uid", original))

    def patient(self, *original: str) -> str:
        """In place of a patient's name and identifier: P and 12 hex digits."""
        return "P" + self._keyed("patient", *original)[:12]

    def _keyed(self, *parts: str) -> str:
        return hmac.new(self.secret, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def deidentified(header: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """A new header of a CT slice (`lib.data.dicom.derived.source_header`) with what may stay of it. No dates, no times."""
    ds = Dataset()
    for name in _KEPT:
        if name in header:
            ds.add(header[name])
    if "Laterality" in header and not header.Laterality:
        ds.Laterality = None
    for name in _UIDS:
        setattr(ds, name, pseudonyms.uid(str(header[name].value)))
    for name in _EMPTY:
        setattr(ds, name, None)
    ds.PatientID = pseudonyms.patient(*(str(header.get(name) or "") for name in (
        "PatientID", "IssuerOfPatientID", "PatientName")))
    ds.PatientName = f"Pseudonym^{ds.PatientID}"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", list(METHOD)
    profile, code = codes.DCM.BasicApplicationConfidentialityProfile, Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = profile.value, profile.scheme_designator, profile.meaning
    ds.DeidentificationMethodCodeSequence = Items([code])
    ds.LongitudinalTemporalInformationModified = "REMOVED"
    return ds
