"""Hundreds of ways to damage a DICOM file: each a function of a NumPy generator, so a seed reproduces its file alone."""

import functools
import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    UID_dictionary,
)

from lib.data.dicom.mayo import write_slice

EVERYTHING = frozenset({"everything"})
LONG = {"OB", "OD", "OF", "OL", "OW", "SQ", "UC", "UN", "UR", "UT", "OV", "SV", "UV"}
ROWS, COLUMNS = 40, 36


@dataclass(frozen=True)
class Span:
    """Where one element of the top level stands: its header from `start`, its value from `value` to `end`."""

    tag: int
    keyword: str
    vr: str
    start: int
    value: int
    end: int


@dataclass(frozen=True)
class Source:
    """An undamaged file's bytes and where its elements stand."""

    name: str
    data: bytes
    spans: tuple[Span, ...]

    def span(self, keyword: str) -> Span:
        return next(span for span in self.spans if span.keyword == keyword)

    @property
    def pixels(self) -> Span:
        return self.span("PixelData")


@dataclass(frozen=True)
class Damaged:
    """A damaged file, and what was touched: keywords of elements (or EVERYTHING), and the bytes of the pixel data."""

    data: bytes
    touched: frozenset[str] = frozenset()
    pixel_bytes: tuple[int, ...] = ()


def damaged(seed: int) -> tuple[str, Source, Damaged]:
    """The damage of this seed: its kind, the file that it was done to, and the result."""
    kind = list(KINDS)[seed % len(KINDS)]
    rng = np.random.default_rng([seed, 20160])
    names, damage = KINDS[kind]
    source = sources()[names[rng.integers(len(names))]]
    return kind, source, damage(rng, source)


# ---- undamaged files -------------------------------------------------------------------------------------------------


@functools.cache
def sources() -> dict[str, Source]:
    """Native and compressed slices, with and without much in the header, in every transfer syntax that is read."""
    plain = _slice()
    rich = pydicom.dcmread(io.BytesIO(plain))
    block = rich.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", np.random.default_rng(5).bytes(2048))
    block.add_new(0x11, "UN", b"private " * 64)
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "113691", "IEC Body Dosimetry Phantom"
    item.RescaleSlope, item.Rows = "7", 99  # of the item, not of the slice
    nested = Dataset()
    nested.CTDIPhantomTypeCodeSequence = Sequence([item, item])
    rich.RequestAttributesSequence = Sequence([nested, item])
    rich["RequestAttributesSequence"].is_undefined_length = True
    rich.CTDIPhantomTypeCodeSequence = Sequence([item])
    rich.WindowCenter, rich.WindowWidth = ["40", "300"], ["300", "1500"]
    rich.ConvolutionKernel = ["B30f", "3"]
    signed = pydicom.dcmread(io.BytesIO(plain))
    signed.BitsStored, signed.HighBit, signed.PixelRepresentation = 16, 15, 1
    stored = (_image().astype(np.int16) + 1024).reshape(-1)
    stored[:20] = -2000
    signed.PixelData = stored.astype("<i2").tobytes()
    signed.RescaleSlope, signed.Manufacturer, signed.PatientName, signed.PatientID = "0.9375", "GE", "L067_FD_1", "Anon"
    compressed, packed = (pydicom.dcmread(io.BytesIO(plain)) for _ in range(2))
    compressed.compress(JPEG2000Lossless)
    packed.compress(RLELossless)
    files = {
        "plain": plain, "rich": _bytes(rich), "signed": _bytes(signed), "jpeg2000": _bytes(compressed),
        "rle": _bytes(packed), "implicit": _bytes(rich, ImplicitVRLittleEndian),
        "big endian": _bytes(_swapped(plain), ExplicitVRBigEndian), "deflated": _bytes(rich, DeflatedExplicitVRLittleEndian),
    }  # fmt: skip
    return {name: _source(name, data) for name, data in files.items()}


def _image() -> np.ndarray:
    """A round body in air with noise: what a shift, a swap or another scale would show in. HU, int16."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    body = np.where((x - 0.1) ** 2 + 1.4 * (y + 0.05) ** 2 < 0.6, 40.0, -1000.0)
    body[8:11, 20:23] = 1200
    return np.clip(body + rng.normal(0, 20, body.shape), -1024, 3071).astype(np.int16)


def _slice() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_slice(Path(folder) / "a", _image(), patient="SIM01", dose="full", kernel="B30", thickness_mm=1.0,
                           z_mm=-12.8, instance=7)
        return path.read_bytes()


def _swapped(plain: bytes) -> Dataset:
    ds = pydicom.dcmread(io.BytesIO(plain))
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    return ds


def _bytes(ds: Dataset, syntax: UID | None = None) -> bytes:
    file = io.BytesIO()
    if syntax is not None:
        plain = Dataset({element.tag: element for element in ds})
        plain.file_meta = pydicom.dataset.FileMetaDataset(ds.file_meta)
        plain.file_meta.TransferSyntaxUID, plain.preamble = syntax, b"\0" * 128
        ds = plain
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def _source(name: str, data: bytes) -> Source:
    """With its spans, as pydicom finds them; a deflated file has those of its file meta information only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
    values = []
    for part in (ds.file_meta,) if name == "deflated" else (ds.file_meta, ds):
        for tag in part.keys():  # noqa: SIM118 - the elements themselves would be converted
            element = part.get_item(tag)
            raw = isinstance(element, RawDataElement)
            vr = element.VR or (pydicom.datadict.dictionary_VR(tag) if pydicom.datadict.dictionary_has_tag(tag) else "UN")
            implicit = name == "implicit" and tag.group != 2
            header = 8 if implicit or vr not in LONG else 12
            at = element.value_tell if raw else element.file_tell
            values.append((at - header, at, tag, str(vr)))
    values.sort()
    ends = [start for start, *_ in values[1:]] + [len(data)]
    spans = [
        Span(int(tag), pydicom.datadict.keyword_for_tag(tag) or f"{tag:08x}", vr, start, at, end)
        for (start, at, tag, vr), end in zip(values, ends, strict=True)
    ]
    return Source(name, data, tuple(spans))


# ---- tools -----------------------------------------------------------------------------------------------------------


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit VR, little endian, with any length that one cares to claim."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("latin-1"))
    return head + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length & 0xFFFF)) + value


def padded(text: str | bytes) -> bytes:
    """Text as a value of even length."""
    value = text if isinstance(text, bytes) else text.encode("utf-8")
    return value + b" " * (len(value) % 2)


def replaced(source: Source, span: Span, new: bytes, *more: str) -> Damaged:
    """The file with other bytes in the place of one element."""
    return Damaged(source.data[: span.start] + new + source.data[span.end :], frozenset({span.keyword, *more}))


def valued(source: Source, keyword: str, value: bytes) -> Damaged:
    """The file with another value of one element."""
    span = source.span(keyword)
    return replaced(source, span, element(span.tag, span.vr, value))


def added(source: Source, new: bytes, tag: int) -> Damaged:
    """The file with an element more, in its place."""
    at = next(span.start for span in source.spans if span.tag > tag)
    return Damaged(source.data[:at] + new + source.data[at:])


def overwritten(source: Source, start: int, new: bytes) -> Damaged:
    """The file with some bytes overwritten; tells which elements and which bytes of the pixel data that hits."""
    data = bytearray(source.data)
    new = new[: len(data) - start]
    data[start : start + len(new)] = new
    changed = [i for i in range(start, start + len(new)) if data[i] != source.data[i]]
    return Damaged(bytes(data), *_hit(source, changed))


def _hit(source: Source, places) -> tuple[frozenset[str], tuple[int, ...]]:
    if source.name == "deflated":
        return EVERYTHING, ()
    pixels = source.pixels
    inside = tuple(place - pixels.value for place in places if pixels.value <= place)
    touched = {span.keyword for span in source.spans for place in places
               if span.start <= place < (pixels.value if span is pixels else span.end)}  # fmt: skip
    return frozenset(touched), inside


def _any(rng, items):
    return items[int(rng.integers(len(items)))]


def _place(rng, start: int, end: int) -> int:
    return int(rng.integers(start, max(end, start + 1)))


def _headers(source: Source) -> list[Span]:
    return [span for span in source.spans if span.tag >> 16 > 2 and span.keyword != "PixelData"]


# ---- bytes -----------------------------------------------------------------------------------------------------------


def _flips(rng, source: Source, start: int, end: int, bit: bool) -> Damaged:
    data, places = bytearray(source.data), []
    for _ in range(1 if bit else int(rng.integers(1, 9))):
        place = _place(rng, start, end)
        data[place] ^= 1 << int(rng.integers(8)) if bit else int(rng.integers(1, 256))
        places.append(place)
    changed = [place for place in set(places) if data[place] != source.data[place]]
    return Damaged(bytes(data), *_hit(source, changed))


def _end_of_header(source: Source) -> int:
    return len(source.data) if source.name == "deflated" else source.pixels.value


def flip_bit_in_header(rng, source):
    return _flips(rng, source, 132, _end_of_header(source), True)


def flip_bytes_in_header(rng, source):
    return _flips(rng, source, 132, _end_of_header(source), False)


def flip_in_lengths_and_tags(rng, source):
    span = _any(rng, source.spans)
    return _flips(rng, source, span.start, span.value, bool(rng.integers(2)))


def flip_in_values(rng, source):
    span = _any(rng, _headers(source))
    return _flips(rng, source, span.value, span.end, bool(rng.integers(2)))


def flip_in_meta(rng, source):
    return _flips(rng, source, 0, max(span.end for span in source.spans if span.tag >> 16 == 2), bool(rng.integers(2)))


def flip_in_pixels(rng, source):
    return _flips(rng, source, source.pixels.value, len(source.data), bool(rng.integers(2)))


def flip_in_compressed_header(rng, source):
    return _flips(rng, source, source.pixels.value, source.pixels.value + 160, bool(rng.integers(2)))


def cut(rng, source):
    return Damaged(source.data[: _place(rng, 0, len(source.data) - 1)])


def cut_short(rng, source):
    return Damaged(source.data[: _place(rng, 0, 400)])


def empty(rng, source):
    return Damaged(b"")


def random_bytes(rng, source):
    return Damaged(source.data[:132] + rng.bytes(int(rng.integers(0, 5000))), EVERYTHING)


def random_after_header(rng, source):
    at = _any(rng, source.spans).start
    return Damaged(source.data[:at] + rng.bytes(int(rng.integers(1, 20000))), EVERYTHING)


def tail(rng, source):
    return Damaged(source.data + rng.bytes(int(rng.integers(1, 5000))))


def run_of_one_byte(rng, source):
    start = _place(rng, 132, len(source.data))
    return overwritten(source, start, bytes([_any(rng, [0, 255, 32, int(rng.integers(256))])]) * int(rng.integers(1, 2048)))


def deleted_bytes(rng, source):
    start, count = _place(rng, 132, len(source.data)), int(rng.integers(1, 64))
    return Damaged(source.data[:start] + source.data[start + count :], *_hit(source, range(start, start + count)))


def inserted_bytes(rng, source):
    start = _place(rng, 132, len(source.data))
    return Damaged(source.data[:start] + rng.bytes(int(rng.integers(1, 64))) + source.data[start:], *_hit(source, [start]))


def swapped_blocks(rng, source):
    size = int(rng.integers(16, 512))
    a, b = sorted(_place(rng, 132, len(source.data) - size) for _ in range(2))
    b = max(b, a + size)
    data = source.data
    mixed = data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    changed = [i for i in range(min(len(mixed), len(data))) if mixed[i] != data[i]]
    return Damaged(mixed, EVERYTHING if source.name == "deflated" else _hit(source, changed)[0], _hit(source, changed)[1])


# ---- elements --------------------------------------------------------------------------------------------------------


def swapped_tags(rng, source):
    a, b = (_any(rng, _headers(source)) for _ in range(2))
    data = bytearray(source.data)
    data[a.start : a.start + 4], data[b.start : b.start + 4] = data[b.start : b.start + 4], data[a.start : a.start + 4]
    return Damaged(bytes(data), frozenset({a.keyword, b.keyword}) if a is not b else frozenset())


def another_tag(rng, source):
    a, b = _any(rng, _headers(source)), _any(rng, _headers(source))
    tag = struct.pack("<HH", b.tag >> 16, b.tag & 0xFFFF)
    return Damaged(source.data[: a.start] + tag + source.data[a.start + 4 :], frozenset({a.keyword} if a is not b else {}))


def repeated_tag(rng, source):
    span = _any(rng, _headers(source))
    value = padded(str(int(rng.integers(1, 9)))) if rng.integers(2) else rng.bytes(max(span.end - span.value, 2))
    again = element(span.tag, span.vr, value) if span.vr != "SQ" else source.data[span.start : span.end]
    at = _any(rng, [span.start, span.end, _any(rng, _headers(source)).start])
    data = source.data[:at] + again + source.data[at:]
    return Damaged(data, frozenset({span.keyword}) if span.tag >> 16 not in (0x20, 0x28) else frozenset())


def dropped_tag(rng, source):
    span = _any(rng, source.spans)
    return Damaged(source.data[: span.start] + source.data[span.end :], frozenset({span.keyword}))


def moved_element(rng, source):
    span, at = _any(rng, _headers(source)), _any(rng, _headers(source)).start
    rest = source.data[: span.start] + source.data[span.end :]
    at -= (span.end - span.start) if at > span.start else 0
    return Damaged(rest[:at] + source.data[span.start : span.end] + rest[at:])


def wrong_vr(rng, source):
    span = _any(rng, source.spans)
    known = ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "OB", "OW", "PN", "SL", "SQ", "SS", "UI",
             "UL", "UN", "US", "UT", "ZZ", "\0\0", "  ", "ds", "\xff\xff"]  # fmt: skip
    vr = _any(rng, known)
    data = bytearray(source.data)
    if rng.integers(2):  # with the length where this VR has it
        return replaced(source, span, element(span.tag, vr, source.data[span.value : span.end]))
    data[span.start + 4 : span.start + 6] = vr.encode("latin-1")
    return Damaged(bytes(data), frozenset({span.keyword}))


def wrong_length(rng, source):
    span = _any(rng, source.spans)
    size = span.end - span.value
    lengths = [0, 1, size - 1, size + 1, size + 2, size * 2, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,
               len(source.data), int(rng.integers(0, 2**32))]  # fmt: skip
    length = max(0, _any(rng, lengths))
    return replaced(source, span, element(span.tag, span.vr, source.data[span.value : span.end], length))


def undefined_length(rng, source):
    span = _any(rng, source.spans)
    end = _any(rng, [b"", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)])
    vr = _any(rng, ["SQ", "UN", "OB", "OW", span.vr])
    return replaced(source, span, element(span.tag, vr, source.data[span.value : span.end] + end, 0xFFFFFFFF))


NUMBERS = ["nan", "inf", "-inf", "1e400", "1e-400", "", " ", "-", "+", "1_0", "1,5", "9" * 300, "0", "-1", "1e-30", "1e30",
           "1\\1", "\\", "1\\", "\\1", "\\".join(["1"] * 5000), "\\".join(["0"] * 30000), "\uff11", "1\0", "\0", "0x10",
           "1 2", "--1", "1e", "e1", "1\n", "\n1", "true", "1024", "-1024", "9", "-9024", "65536", "1e5", "0.5", "2",
           "1\\2\\3", "1\\2\\nan", "-12.8\\-12.8\\1e9", "1\\2\\3\\4", "  3.5  ", "+3.50", "3.", ".5", "1.5E+00"]  # fmt: skip


def decimal(rng, source):
    keywords = ["RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "SliceThickness", "PixelSpacing"]
    return valued(source, _any(rng, keywords), padded(_any(rng, NUMBERS))[:65534])


def whole_number(rng, source):
    number = padded(_any(rng, [*NUMBERS, "2", "1", "-5", "99999999999999999999"]))[:65534]
    if rng.integers(2):
        return valued(source, "InstanceNumber", number)
    new = added(source, element(0x00280008, "IS", number), 0x00280008)
    return Damaged(new.data, frozenset({"NumberOfFrames"}))


def any_value(rng, source):
    span = _any(rng, _headers(source))
    return replaced(source, span, element(span.tag, span.vr, padded(_any(rng, NUMBERS))[:65534]))


def text(rng, source):
    keywords = ["Modality", "ImageType", "ConvolutionKernel", "PatientName", "PatientID", "Manufacturer",
                "SpecificCharacterSet", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID",
                "PhotometricInterpretation"]  # fmt: skip
    values = ["", " ", "\0", "CT\0", "ct", "\n", "a\nb", "x" * 60000, "\\" * 3000, "\x1b$B\x1b(J", "\xff\xfe",
              "../../../etc", "A/B", "=", "^^^^", "SIM99999_FD_1", "L067_FD_9999999999999999999", "SIM01_QD_" + "9" * 400,
              "\udcff", "MR", "LOCALIZER", "MONOCHROME1", "RGB", "\u202etext", "B30f\\", "\\B30f",
              "1.2.840.10008.5.1.4.1.1.66"]  # fmt: skip
    value = _any(rng, values).encode("utf-8", "surrogateescape")
    return valued(source, _any(rng, keywords), padded(value)[:65534])


def character_set(rng, source):
    sets = ["ISO_IR 192", "ISO_IR 13", "GB18030", "GBK", "ISO 2022 IR 87", "ISO_IR 999", "utf8", "", "\\ISO 2022 IR 149",
            "\\" * 500, "ISO_IR 100\\ISO_IR 192\\ISO 2022 IR 6", "\x1b$)C", "rot13", "zlib_codec", "undefined",
            "idna"]  # fmt: skip
    new = valued(source, "SpecificCharacterSet", padded(_any(rng, sets))).data
    name = element(0x00100010, "PN", padded(_any(rng, [b"\xc4nne^\xff", b"\x1b$B;3ED\x1b(B", rng.bytes(20), b"SIM01_FD_1"])))
    again = _source("plain", new)
    return Damaged(replaced(again, again.span("PatientName"), name).data, frozenset({"SpecificCharacterSet", "PatientName"}))


# ---- the image -------------------------------------------------------------------------------------------------------


def _short(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def matrix(rng, source):
    sizes = [(65535, 65535), (0, 0), (COLUMNS, ROWS), (65535, COLUMNS), (ROWS, 0), (ROWS * COLUMNS, 1),
             (ROWS // 2, COLUMNS * 2), (ROWS + 1, COLUMNS), (4096, 4096), (4097, 1), (32768, 32768), (1, 1)]  # fmt: skip
    rows, columns = _any(rng, sizes)
    data = valued(source, "Rows", _short(rows)).data
    columns_span = _source(source.name, data).span("Columns")
    new = element(columns_span.tag, "US", _any(rng, [_short(columns), _short(columns, 1), b""]))
    return Damaged(data[: columns_span.start] + new + data[columns_span.end :], frozenset({"Rows", "Columns"}))


def bits(rng, source):
    keyword = _any(rng, ["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"])
    return valued(source, keyword, _short(_any(rng, [0, 1, 2, 3, 7, 8, 10, 11, 12, 13, 15, 16, 17, 32, 64, 65535])))


def consistent_bits(rng, source):
    stored = int(rng.integers(1, 17))
    data, high = valued(source, "BitsStored", _short(stored)).data, source.span("HighBit")
    data = data[: high.start] + element(high.tag, "US", _short(stored - 1)) + data[high.end :]
    return Damaged(data, frozenset({"BitsStored", "HighBit"}))


def transfer_syntax(rng, source):
    known = [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"]
    syntax = _any(rng, [*known, "1.2.840.113619.5.2", "", "1.2.3", "x" * 64, "1.2.840.10008.1.2.1 "])
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    span = source.span("TransferSyntaxUID")
    return replaced(source, span, element(span.tag, "UI", value))


def pixel_length(rng, source):
    span, data = source.pixels, source.data
    value = data[span.value :]
    size = len(value)
    others = [b"", value[:-2], value[:-1], value + b"\0", value + b"\0\0", value * 2, value[: size // 2],
              value[:1], value + bytes(1000)]  # fmt: skip
    pixels = _any(rng, others)
    return Damaged(data[: span.start] + element(span.tag, _any(rng, ["OW", "OB"]), pixels), frozenset({"PixelData"}))


def other_pixels(rng, source):
    span = source.pixels
    tag = _any(rng, [0x7FE00008, 0x7FE00009, 0x7FE00001, 0x7FE00011])
    return replaced(source, span, element(tag, span.vr, source.data[span.value :]))


# ---- sequences -------------------------------------------------------------------------------------------------------


def _item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


_ITEM_END, _SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def deep_sequence(rng, source):
    value, undefined = element(0x00280010, "US", _short(7)), bool(rng.integers(2))
    closed = bool(rng.integers(4))
    heads, ends = [], []
    depth = int(_any(rng, [3, 50, 300, 2000, 20000]))
    if undefined:
        for _ in range(depth):
            heads.append(element(0x00081140, "SQ", b"", 0xFFFFFFFF) + _item(b"", 0xFFFFFFFF))
            ends.append(_ITEM_END + _SEQUENCE_END)
        value = b"".join(heads) + value + (b"".join(ends) if closed else b"")
    else:
        for _ in range(min(depth, 2000)):
            value = element(0x00081140, "SQ", _item(value))
    return added(source, value, 0x00081140)


def many_items(rng, source):
    count = int(_any(rng, [10, 1000, 30000]))
    item = _any(rng, [_item(b""), _item(element(0x00280010, "US", _short(9))), _item(b"", 0xFFFFFFFF) + _ITEM_END])
    vr = _any(rng, ["SQ", "UN"])
    return added(source, element(0x00081140, vr, item * count + _SEQUENCE_END, 0xFFFFFFFF), 0x00081140)


def broken_sequence(rng, source):
    slope = element(0x00281053, "DS", b"5 ")
    inner = _any(rng, [slope, element(0x00280010, "US", _short(9)), slope + element(0x7FE00010, "OW", b"\0" * 64)])
    lengths = [0, 1, len(inner) - 1, len(inner) + 2, len(inner) + 400, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFFFF]
    value = _item(inner, _any(rng, lengths)) + _any(rng, [b"", _ITEM_END, _SEQUENCE_END, _ITEM_END + _SEQUENCE_END])
    length = _any(rng, [len(value), 0xFFFFFFFF, len(value) - 2, len(value) + 8, 0])
    tag = _any(rng, [0x00081140, 0x00400275, 0x00091001])
    return added(source, element(tag, _any(rng, ["SQ", "SQ", "UN", "OB"]), value, length), tag)


# ---- compressed ------------------------------------------------------------------------------------------------------


def fragments(rng, source):
    at, data = source.pixels.value, source.data
    frame = data[at + 16 + struct.unpack_from("<I", data, at + 4)[0] : len(data) - 8]
    table = _any(rng, [_item(b""), b"", _item(_short(0, 0)), _item(rng.bytes(4)), _item(rng.bytes(400)), _item(b"\0" * 8)])
    half = len(frame) // 4 * 2
    parts = [_item(frame), _item(frame[:half]) + _item(frame[half:]), _item(frame) * 2, _item(frame[:half]), _item(b""),
             b"", _item(frame, len(frame) + 2), _item(frame, 0xFFFFFFFF), _item(frame[half:]) + _item(frame[:half]),
             frame]  # fmt: skip
    whole = table + _any(rng, parts) + _any(rng, [_SEQUENCE_END, b"", _ITEM_END, _SEQUENCE_END + rng.bytes(50)])
    return Damaged(data[:at] + whole, frozenset(), tuple(range(len(whole))))


def codestream_size(rng, source):
    """Absurd numbers in the SIZ marker of JPEG 2000, whose fields are of 2, 4 and 1 bytes."""
    start = source.data.index(b"\xff\x4f\xff\x51")
    field_at, size = _any(rng, [*((8 + 4 * i, 4) for i in range(8)), (40, 2), (42, 1), (43, 1), (44, 1), (4, 2), (6, 2)])
    value = _any(rng, [0, 1, 2, 7, 37, 255, 65535, 2**31 - 1, 2**32 - 1]) % 2 ** (8 * size)
    return overwritten(source, start + field_at, value.to_bytes(size, "big"))


def codestream_style(rng, source):
    """Other numbers in the coding style and quantisation markers."""
    marker = source.data.index(_any(rng, [b"\xff\x52", b"\xff\x5c", b"\xff\x90"]), source.pixels.value)
    return _flips(rng, source, marker, marker + 14, bool(rng.integers(2)))


@functools.cache
def _bomb(kind: int, size: int) -> bytes:
    zeros = b"\0" * 2**20
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    modality = element(0x00080060, "CS", b"CT")
    heads = [b"", modality + element(0x00091001, "OB", b"", size * 2**20), modality]
    return b"".join([deflate.compress(heads[kind]), *(deflate.compress(zeros) for _ in range(size)), deflate.flush()])


def bomb(rng, source):
    meta_end = 144 + struct.unpack_from("<I", source.data, 140)[0]
    return Damaged(source.data[:meta_end] + _bomb(int(rng.integers(3)), int(_any(rng, [20, 300]))), EVERYTHING)


ANY = ("plain", "rich", "signed", "jpeg2000", "rle", "implicit", "big endian", "deflated")
SPANS = ("plain", "rich", "signed", "jpeg2000", "rle", "implicit", "big endian")
EXPLICIT = ("plain", "rich", "signed", "jpeg2000", "rle")
NATIVE = ("plain", "rich", "signed")

KINDS: dict[str, tuple[tuple[str, ...], Callable[[np.random.Generator, Source], Damaged]]] = {
    function.__name__: (names, function)
    for names, functions in (
        (ANY, (flip_bit_in_header, flip_bytes_in_header, flip_in_meta, cut, cut_short, empty, random_bytes, tail,
               run_of_one_byte, inserted_bytes, deleted_bytes, swapped_blocks)),
        (SPANS, (flip_in_lengths_and_tags, flip_in_values, flip_in_pixels, random_after_header, dropped_tag, moved_element)),
        (EXPLICIT, (swapped_tags, another_tag, repeated_tag, wrong_vr, wrong_length, undefined_length, decimal, whole_number,
                    any_value, text, matrix, bits, consistent_bits, transfer_syntax, deep_sequence, many_items,
                    broken_sequence, other_pixels)),
        (NATIVE, (pixel_length, character_set)),
        (("jpeg2000", "rle"), (flip_in_compressed_header, fragments)),
        (("jpeg2000",), (codestream_size, codestream_style)),
        (("deflated",), (bomb,)),
    )
    for function in functions
}  # fmt: skip


def damage(seed: int, data: bytes) -> tuple[str, Damaged]:
    """A damage of this seed to a native file in explicit VR, little endian: its kind and the result."""
    kinds = [kind for kind, (names, _) in KINDS.items() if "plain" in names]
    rng = np.random.default_rng([seed, 20161])
    kind = _any(rng, kinds)
    return kind, KINDS[kind][1](rng, _source("plain", data))
