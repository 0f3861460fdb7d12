"""The elements of one DICOM file up to its pixel data: parsed by pydicom, and checked before anybody relies on them.

A damaged length, tag or VR often leaves a file that parses, with other values in it. So every element that is read
must end inside the file, must come once and in its place, must have the VR that the standard gives it, and must hold
nothing but the value. Messages never quote a text value: where bytes have moved, it could be a name.
"""

import io
import math
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lib.errors import DicomError

LARGEST_FILE = 64 * 2**20
"""Bytes; the largest CT slice there is, 4,096 x 4,096 of 16 bits, takes half of that."""

LARGEST_HEADER = 4 * 2**20
"""Bytes before the pixel data; scanners write some thousands, with their private groups some hundred thousand."""

_NATIVE = {  # implicit VR, little endian
    ImplicitVRLittleEndian: (True, True),
    ExplicitVRLittleEndian: (False, True),
    DeflatedExplicitVRLittleEndian: (False, True),
    ExplicitVRBigEndian: (False, False),
}
_PIXEL_DATA, _OTHER_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_MOST_ELEMENTS = 10_000  # of the top level, or items of all sequences: parsing takes a second then
_TRANSFER_SYNTAX = 0x00020010
_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED = 0xFFFFFFFF
_ORDERED_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0028)  # those that anything is read from
_BINARY = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "OB", "OW", "OF", "OD", "OL", "OV", "SQ"}
_DECIMAL = re.compile(rb"[ \0]*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[ \0]*")
_INTEGER = re.compile(rb"[ \0]*([+-]?\d{1,10})[ \0]*")


@dataclass(frozen=True)
class Pixels:
    """Where the pixel data stands in `Elements.data`: byte offset, and length in bytes (None: undefined)."""

    offset: int
    length: int | None


class Elements:
    """The elements before the pixel data. `get`, `in` and `decimals` take a keyword (or, the first two, a tag)."""

    def __init__(self, dataset: Dataset, data: bytes, size: int, syntax: UID, pixels: Pixels | None, path: Path):
        self.data, self.size, self.syntax, self.pixels, self.path = data, size, syntax, pixels, path
        self.implicit, self.little_endian = _NATIVE.get(syntax, (False, True))
        self._dataset = dataset

    def __contains__(self, name: str | int) -> bool:
        return _tag(name) in self._dataset

    def get(self, name: str | int) -> str | list[str] | None:
        """Text of an element without padding, a list if it has several values, None if it is missing.

        Raises DicomError for a sequence, a number of another VR, or text that cannot be decoded.
        """
        element = self._element(name)
        if element is None:
            return None
        value = element.value or b""
        if value.isascii() and b"\x1b" not in value:
            if element.VR in _BINARY:
                raise self.error(f"{_label(name)} has the VR {element.VR}, expected text; damaged, copy it again")
            values = [part.strip(" \0") for part in value.decode("ascii").split("\\")]
        else:
            try:
                with warnings.catch_warnings():  # pydicom warns of odd character sets
                    warnings.simplefilter("ignore")
                    decoded = convert_raw_data_element(element, encoding=self._dataset.original_character_set).value
                several = isinstance(decoded, (list, tuple, MultiValue))
                values = [str(part).strip(" \0") for part in (decoded if several else [decoded])]
            except Exception:  # pydicom raises many kinds for damaged bytes
                raise self.error(f"{_label(name)} cannot be decoded; damaged, copy it again") from None
        return values if len(values) > 1 else values[0]

    def decimals(self, name: str, count: int, *, required: bool = False) -> tuple[float, ...] | None:
        """The `count` finite numbers of a DS element, None if it is missing or empty. Raises DicomError."""
        value = self._value(name, "DS")
        if not value.strip(b" \0"):
            if required:
                raise self.error(f"no {name} in the header; expected a CT image with HU and position, export it again")
            return None
        if value.count(b"\\") != count - 1:
            found = value.count(b"\\") + 1
            raise self.error(f"{name} has {found} value(s), expected {count}; damaged, export the file again")
        matches = [_DECIMAL.fullmatch(part) for part in value.split(b"\\")]
        numbers = tuple(float(match[1]) if match else math.nan for match in matches)
        if not all(map(math.isfinite, numbers)):
            raise self.error(f"{name} is not a finite number; damaged, export the file again")
        return numbers

    def integer(self, name: str) -> int | None:
        """The one number of an IS element, None if it is missing or empty. Raises DicomError."""
        value = self._value(name, "IS")
        if not value.strip(b" \0"):
            return None
        if not (match := _INTEGER.fullmatch(value)):
            raise self.error(f"{name} is not a whole number; damaged, export the file again")
        return int(match[1])

    def unsigned(self, name: str) -> int:
        """The one number of a required US element. Raises DicomError."""
        value = self._value(name, "US")
        if not value:
            raise self.error(f"no {name} in the header; truncated or not an image, copy it again")
        if len(value) != 2:
            raise self.error(f"{name} takes {len(value)} bytes, expected 2; damaged, copy it again")
        return int.from_bytes(value, "little" if self.little_endian else "big")

    def error(self, what: str) -> DicomError:
        """A DicomError of this file; `what` says what is wrong, a semicolon, and what to do."""
        return DicomError(f"{self.path}: {what}")

    def _value(self, name: str, vr: str) -> bytes:
        element = self._element(name)
        if element is None:
            return b""
        if element.VR not in (vr, None, "UN"):
            raise self.error(f"{name} has the VR {element.VR!a}, expected {vr}; damaged, copy it again")
        return element.value or b""

    def _element(self, name: str | int) -> RawDataElement | None:
        element = self._dataset.get_item(_tag(name), keep_deferred=True)
        if element is not None and not isinstance(element, RawDataElement):
            raise self.error(f"{_label(name)} is a sequence, expected a value; damaged, copy it again")
        return element


def parse(data: bytes, path: Path, tags: list[int] | None = None, size: int | None = None) -> Elements:
    """Parse a file's bytes up to the pixel data (of `tags` only, if given).

    `size` is the file's length in bytes where `data` is only its beginning: a failure, or no pixel data, then says
    nothing about the rest. Raises DicomError.
    """
    size = len(data) if size is None else size
    if data[128:132] != b"DICM":
        raise DicomError(f"{path}: not a DICOM file (no DICM at byte 128); remove it or export it again")
    if len(data) > LARGEST_FILE:
        raise too_large(path, LARGEST_FILE)
    file = io.BytesIO(data[:LARGEST_HEADER])
    file.seek(132)
    watch = _Watch(file, path, size)
    try:
        with warnings.catch_warnings():  # pydicom warns of odd values in fields that nobody reads here
            warnings.simplefilter("ignore")
            meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            syntax = _syntax(meta, path)
            if syntax == DeflatedExplicitVRLittleEndian:
                data = _inflated(data[file.tell() :], path)
                size = len(data)
                file = io.BytesIO(data[:LARGEST_HEADER])
                watch.file, watch.size = file, size
            dataset = read_dataset(file, *_NATIVE.get(syntax, (False, True)), stop_when=watch, specific_tags=tags)
    except (DicomError, MemoryError):
        raise
    except Exception as error:  # pydicom raises many kinds for damaged bytes
        text = " ".join(str(error).split())[:80] or type(error).__name__
        raise DicomError(f"{path}: truncated or damaged DICOM file ({text}); copy it again") from None
    return Elements(dataset, data, size, syntax, watch.pixels, path)


class _Watch:
    """pydicom asks it before each element of the top level: raises for what no CT slice has, stops at the pixels."""

    def __init__(self, file: io.BytesIO, path: Path, size: int):
        self.file, self.path, self.size = file, path, size
        self.last, self.count, self.items, self.pixels = 0, 0, None, None

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        tag = int(tag)
        self.count += 1
        if self.count > _MOST_ELEMENTS:
            raise DicomError(f"{self.path}: more than {_MOST_ELEMENTS} elements, no CT header; damaged, copy it again")
        if tag == _PIXEL_DATA:
            if vr not in ("OW", "OB", None):
                raise DicomError(f"{self.path}: pixel data of the VR {vr!a}, expected OW or OB; damaged, copy it again")
            self.pixels = Pixels(self.file.tell(), None if length == _UNDEFINED else length)
            return True
        if tag in _OTHER_PIXELS:
            raise DicomError(f"{self.path}: pixel data of floating-point numbers; export it as integers of 16 bits")
        if length == _UNDEFINED:
            if vr not in ("SQ", "UN", None):
                raise DicomError(f"{self.path}: an element of undefined length that is no sequence; copy it again")
            if self.items is None:
                self.items = self.file.getvalue().count(_ITEM, self.file.tell())
            if self.items > _MOST_ELEMENTS:
                raise DicomError(f"{self.path}: a sequence of more than {_MOST_ELEMENTS} items, no CT header; copy it again")
        elif self.file.tell() + length > self.size:
            raise DicomError(f"{self.path}: an element runs past the end of the file; truncated or damaged, copy it again")
        if tag <= self.last and tag >> 16 in _ORDERED_GROUPS:
            raise DicomError(f"{self.path}: element {tag >> 16:04x},{tag & 0xFFFF:04x} out of its place; copy it again")
        self.last = max(self.last, tag)
        return False


def _tag(name: str | int) -> int:
    return tag_for_keyword(name) if isinstance(name, str) else name


def _label(name: str | int) -> str:
    return name if isinstance(name, str) else f"element {name >> 16:04x},{name & 0xFFFF:04x}"


def _syntax(meta: Dataset, path: Path) -> UID:
    element = meta.get_item(_TRANSFER_SYNTAX)
    value = element.value if isinstance(element, RawDataElement) and element.VR == "UI" else None
    syntax = UID((value or b"").decode("ascii", "replace").strip(" \0"))
    if syntax in _NATIVE or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return syntax
    named = f"{syntax} is no standard one" if re.fullmatch(r"[\d.]{1,64}", syntax) else "is missing or unreadable"
    raise DicomError(f"{path}: transfer syntax {named}; export as Explicit VR Little Endian")


def _inflated(deflated: bytes, path: Path) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflate.decompress(deflated, LARGEST_FILE)
    if inflate.unconsumed_tail:
        raise too_large(path, LARGEST_FILE)
    if not inflate.eof:
        raise DicomError(f"{path}: the deflated data end too early; truncated or damaged, copy it again")
    return inflated


def too_large(path: Path, size: int) -> DicomError:
    """The error for a file, or what it inflates to, of more than `size` bytes."""
    return DicomError(f"{path}: more than {size // 2**20} MiB, expected one CT slice; export one slice a file")
