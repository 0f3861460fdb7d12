"""The elements of one DICOM file before its pixel data, checked: a damaged length, tag or VR often leaves a file that
parses, with other values in it. So every element that is read must end inside the file, come once and in its place (see
`parsing`), have the VR that the standard gives it, and hold nothing but the value. Messages never quote a text value: where
bytes have moved, it could be a name."""

import math
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from lib.errors import DicomError

# Uncompressed transfer syntaxes: (implicit VR, little endian)
NATIVE = {uid.ImplicitVRLittleEndian: (True, True), uid.ExplicitVRLittleEndian: (False, True),
          uid.DeflatedExplicitVRLittleEndian: (False, True), uid.ExplicitVRBigEndian: (False, False)}
ENCAPSULATED = (False, True)  # the same of every compressed one
DAMAGED, EXPORT = "damaged, copy it again", "damaged, export the file again"
_BINARY = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "OB", "OW", "OF", "OD", "OL", "OV", "SQ"}
_DECIMAL = re.compile(rb"[ \0]*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[ \0]*")
_INTEGER = re.compile(rb"[ \0]*([+-]?\d{1,10})[ \0]*")


class Pixels(NamedTuple):
    """Where the pixel data stands in `Elements.data`: byte offset, and length in bytes (None: undefined)."""

    offset: int
    length: int | None


class Elements:
    """The elements before the pixel data. `get`, `in` and `decimals` take a keyword (or, the first two, a tag)."""

    def __init__(self, dataset: Dataset, data: bytes, size: int, syntax: uid.UID, pixels: Pixels | None, path: Path):
        self.data, self.size, self.syntax, self.pixels, self.path = data, size, syntax, pixels, path
        self.implicit, self.little_endian = NATIVE.get(syntax, ENCAPSULATED)
        self._dataset = dataset

    @property
    def dataset(self) -> Dataset:
        """All that was kept of them, as pydicom parsed it: not checked."""
        return self._dataset

    def __contains__(self, name: str | int) -> bool:
        return _tag(name) in self._dataset

    def get(self, name: str | int) -> str | list[str] | None:
        """Text of an element without padding, a list if it has several values, None if it is missing. Raises DicomError for
        a sequence, a number of another VR, or text that cannot be decoded."""
        element = self._element(name)
        if element is None:
            return None
        value = element.value or b""
        if value.isascii() and b"\x1b" not in value:
            if element.VR in _BINARY:
                raise self.error(f"{label(name)} has the VR {element.VR}, expected text")
            values = [part.strip(" \0") for part in value.decode("ascii").split("\\")]
        else:
            try:
                with warnings.catch_warnings():  # pydicom warns of odd character sets
                    warnings.simplefilter("ignore")
                    decoded = convert_raw_data_element(element, encoding=self._dataset.original_character_set).value
                parts = decoded if isinstance(decoded, (list, tuple, MultiValue)) else [decoded]
                values = [str(part).strip(" \0") for part in parts]
            except Exception:  # noqa: BLE001 - pydicom raises many kinds for damaged bytes
                raise self.error(f"{label(name)} cannot be decoded") from None
        return values if len(values) > 1 else values[0]

    def decimals(self, name: str, count: int, *, required: bool = False) -> tuple[float, ...] | None:
        """The `count` finite numbers of a DS element, None if it is missing or empty. Raises DicomError."""
        value = self._value(name, "DS")
        if not value.strip(b" \0"):
            if required:
                raise self.error(f"no {name} in the header, expected a CT image with HU and position", "export it again")
            return None
        matches = [_DECIMAL.fullmatch(part) for part in value.split(b"\\")]
        if len(matches) != count:
            raise self.error(f"{name} has {len(matches)} value(s), expected {count}", EXPORT)
        numbers = tuple(float(match[1]) if match else math.nan for match in matches)
        if not all(map(math.isfinite, numbers)):
            raise self.error(f"{name} is not a finite number", EXPORT)
        return numbers

    def integer(self, name: str) -> int | None:
        """The one number of an IS element, None if it is missing or empty. Raises DicomError."""
        value = self._value(name, "IS")
        if not value.strip(b" \0"):
            return None
        if not (match := _INTEGER.fullmatch(value)):
            raise self.error(f"{name} is not a whole number", EXPORT)
        return int(match[1])

    def unsigned(self, name: str) -> int:
        """The one number of a required US element. Raises DicomError."""
        value = self._value(name, "US")
        if not value:
            raise self.error(f"no {name} in the header", "truncated or not an image, copy it again")
        if len(value) != 2:
            raise self.error(f"{name} takes {len(value)} bytes, expected 2")
        return int.from_bytes(value, "little" if self.little_endian else "big")

    def word(self, name: str, signed: bool) -> int | None:
        """The one number of 16 bits, None if it is missing or empty; read as PixelRepresentation says, as 'US or SS' is
        (PS3.5, 6.2), whatever a writer took for the VR. Raises DicomError."""
        element = self._element(name)
        if element is None or not element.value:
            return None
        if element.VR not in ("US", "SS", "US or SS", "UN", "OW", None) or len(element.value) != 2:
            raise self.error(f"{name} is not one number of 16 bits")
        return int.from_bytes(element.value, "little" if self.little_endian else "big", signed=signed)

    def error(self, what: str, remedy: str = DAMAGED) -> DicomError:
        """The error that this file gives."""
        return unusable(self.path, what, remedy)

    def _value(self, name: str, vr: str) -> bytes:
        element = self._element(name)
        if element and element.VR not in (vr, None, "UN"):
            raise self.error(f"{name} has the VR {element.VR!a}, expected {vr}")
        return (element and element.value) or b""

    def _element(self, name: str | int) -> RawDataElement | None:
        element = self._dataset.get_item(_tag(name), keep_deferred=True)
        if element is not None and not isinstance(element, RawDataElement):
            raise self.error(f"{label(name)} is a sequence, expected a value")
        return element


def _tag(name: str | int) -> int:
    return tag_for_keyword(name) if isinstance(name, str) else name


def label(name: str | int) -> str:
    """An element's name in messages."""
    return name if isinstance(name, str) else f"element {name >> 16:04x},{name & 0xFFFF:04x}"


def unusable(path: Path, what: str, remedy: str = DAMAGED) -> DicomError:
    """The error that a file gives."""
    return DicomError(what, where=path, remedy=remedy)
