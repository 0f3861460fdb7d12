"""A DICOM file's bytes to its elements: parsed by pydicom, which is watched: it would follow a damaged length past the end
of the file, take the last of two elements of one tag, and parse for minutes what no CT slice has."""

import io
import re
import warnings
import zlib
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from lib.data.dicom.elements import ENCAPSULATED, NATIVE, Elements, Pixels, label, unusable
from lib.errors import DicomError

LARGEST_FILE = 64 * 2**20  # bytes; the largest CT slice there is, 4,096 x 4,096 of 16 bits, takes half of that
LARGEST_HEADER = 4 * 2**20  # bytes before the pixel data; scanners write thousands, a hundred thousand with private groups
_PIXEL_DATA, _OTHER_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_MOST_ELEMENTS = 10_000  # of the top level, or items of all sequences: parsing takes a second then
_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED = 0xFFFFFFFF
_ORDERED_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0028)  # those that anything is read from
_CUT = "truncated or damaged, copy it again"


def parse(data: bytes, path: Path, tags: list[int] | None = None, size: int | None = None) -> Elements:
    """Parse a file's bytes up to the pixels. Raises DicomError: not DICOM, truncated, damaged, or more than a CT slice has.
    `data` is the file, or its beginning where `size` is the file's length in bytes: failing, or no pixels, then says nothing
    of the rest. `tags` are the elements to keep, all of them by default; `path` only names the file in messages."""
    size = len(data) if size is None else size
    if data[128:132] != b"DICM":
        raise unusable(path, "not a DICOM file (no DICM at byte 128)", "remove it or export it again")
    if len(data) > LARGEST_FILE:
        raise too_large(path)
    file = io.BytesIO(data[:LARGEST_HEADER])
    file.seek(132)
    try:
        with warnings.catch_warnings():  # pydicom warns of odd values in fields that nobody reads here
            warnings.simplefilter("ignore")
            meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            syntax = _syntax(meta, path)
            if syntax == DeflatedExplicitVRLittleEndian:
                data = _inflated(data[file.tell() :], path)
                size, file = len(data), io.BytesIO(data[:LARGEST_HEADER])
            watch = _Watch(file, path, size)
            dataset = read_dataset(file, *NATIVE.get(syntax, ENCAPSULATED), stop_when=watch, specific_tags=tags)
    except (DicomError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds for damaged bytes
        text = " ".join(str(error).split())[:80] or type(error).__name__
        raise unusable(path, f"truncated or damaged DICOM file ({text})", "copy it again") from None
    return Elements(dataset, data, size, syntax, watch.pixels, path)


class _Watch:
    """pydicom asks it before each element of the top level: raises for what no CT slice has, stops at the pixels."""

    def __init__(self, file: io.BytesIO, path: Path, size: int):
        self.file, self.path, self.size = file, path, size
        self.last, self.count, self.items, self.pixels = 0, 0, None, None

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        tag, self.count = int(tag), self.count + 1
        if self.count > _MOST_ELEMENTS:
            raise unusable(self.path, f"more than {_MOST_ELEMENTS} elements, no CT header")
        if tag == _PIXEL_DATA:
            if vr not in ("OW", "OB", None):
                raise unusable(self.path, f"pixel data of the VR {vr!a}, expected OW or OB")
            self.pixels = Pixels(self.file.tell(), None if length == _UNDEFINED else length)
            return True
        if tag in _OTHER_PIXELS:
            raise unusable(self.path, "pixel data of floating-point numbers", "export it as integers of 16 bits")
        if length == _UNDEFINED:
            if vr not in ("SQ", "UN", None):
                raise unusable(self.path, "an element of undefined length that is no sequence")
            if self.items is None:
                self.items = self.file.getvalue().count(_ITEM, self.file.tell())
            if self.items > _MOST_ELEMENTS:
                raise unusable(self.path, f"a sequence of more than {_MOST_ELEMENTS} items, no CT header")
        elif self.file.tell() + length > self.size:
            raise unusable(self.path, "an element runs past the end of the file", _CUT)
        if tag <= self.last and tag >> 16 in _ORDERED_GROUPS:
            raise unusable(self.path, f"{label(tag)} out of its place")
        self.last = max(self.last, tag)
        return False


def _syntax(meta: Dataset, path: Path) -> UID:
    element = meta.get_item("TransferSyntaxUID")
    value = element.value if isinstance(element, RawDataElement) and element.VR == "UI" else None
    syntax = UID((value or b"").decode("ascii", "replace").strip(" \0"))
    if syntax in NATIVE or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return syntax
    named = f"{syntax} is no standard one" if re.fullmatch(r"[\d.]{1,64}", syntax) else "is missing or unreadable"
    raise unusable(path, f"transfer syntax {named}", "export as Explicit VR Little Endian")


def _inflated(deflated: bytes, path: Path) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflate.decompress(deflated, LARGEST_FILE)
    if inflate.unconsumed_tail:
        raise too_large(path)
    if not inflate.eof:
        raise unusable(path, "the deflated data end too early", _CUT)
    return inflated


def too_large(path: Path) -> DicomError:
    """The error for a file, or what it inflates to, of more than ``LARGEST_FILE``."""
    return unusable(path, f"more than {LARGEST_FILE // 2**20} MiB, expected one CT slice", "export one slice a file")
