"""The pixels of one CT slice: what the header says of them, checked, and the stored values decoded. Limits are those of the
CT Image IOD, or so wide that no scanner's CT scale reaches them: what lies beyond is damage."""

import io
import re
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000TransferSyntaxes

from lib.data.dicom.elements import EXPORT, Elements

LARGEST_SIDE = 4096  # rows or columns; CT has 2,048 at most
LARGEST_HU = 40_000  # beyond every scale in use, extended ones and padding of -32768 included
SLOPES = (1e-3, 64.0)  # sane RescaleSlope: 1 nearly always, fractions exist, 10 for extended scales
PIXEL_TAGS = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RescaleIntercept", "RescaleSlope",
)

_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_SOC, _SIZ, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF90, 0xFFD9


@dataclass(frozen=True)
class PixelForm:
    """How one slice is stored: 16 bits allocated, HU = stored value * slope + intercept."""

    rows: int
    columns: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float


def pixel_form(elements: Elements) -> PixelForm:
    """Read and check what defines the image, without touching the pixels. Raises DicomError for anything missing or
    inconsistent, for another image type than grey of 16 bits, for an absurd matrix or HU scale, and for pixel data that is
    missing, cut short, or of another length than the matrix takes."""
    rows, columns = elements.unsigned("Rows"), elements.unsigned("Columns")
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise elements.error(f"{rows} rows x {columns} columns, expected 1 to {LARGEST_SIDE}")
    samples, colour = elements.unsigned("SamplesPerPixel"), elements.get("PhotometricInterpretation")
    if samples != 1 or colour != "MONOCHROME2":
        shown = colour if colour in ("MONOCHROME1", "RGB", "PALETTE COLOR") else "another photometric interpretation"
        found = f"{samples} samples per pixel" if samples != 1 else shown
        raise elements.error(f"{found}, expected one sample, MONOCHROME2", "export it as a grey CT image")
    allocated, stored = elements.unsigned("BitsAllocated"), elements.unsigned("BitsStored")
    high, sign = elements.unsigned("HighBit"), elements.unsigned("PixelRepresentation")
    if allocated != 16 or not 8 <= stored <= 16 or high != stored - 1 or sign > 1:
        found = f"{allocated} bits allocated, {stored} stored, high bit {high}, PixelRepresentation {sign}"
        raise elements.error(f"{found}, where CT has 16, 12 to 16, one less, 0 or 1", "damaged, or export it with 16 bits")
    slope = elements.decimals("RescaleSlope", 1, required=True)[0]
    intercept = elements.decimals("RescaleIntercept", 1, required=True)[0]
    if not SLOPES[0] <= slope <= SLOPES[1]:
        raise elements.error(f"RescaleSlope is {slope:g}, expected {SLOPES[0]:g} to {SLOPES[1]:g}", "export the file again")
    if abs(intercept) > LARGEST_HU:
        raise elements.error(f"RescaleIntercept is {intercept:g}, no CT scale", EXPORT)
    _check_length(elements, rows * columns * 2)
    return PixelForm(rows, columns, stored, bool(sign), slope, intercept)


def stored_values(elements: Elements, form: PixelForm) -> np.ndarray:
    """The stored values, (rows, columns), int16 or uint16, perhaps read-only. `elements.data` must be the whole file. Raises
    DicomError if they cannot be decoded."""
    if elements.syntax.is_encapsulated:
        return _decompressed(elements, form)
    _check_end(elements)
    kind = ("<" if elements.little_endian else ">") + ("i2" if form.signed else "u2")
    stored = np.frombuffer(elements.data, kind, form.rows * form.columns, elements.pixels.offset)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False).reshape(form.rows, form.columns)


def check_range(elements: Elements, form: PixelForm, lowest: int, highest: int) -> tuple[float, float]:
    """The HU of the lowest and the highest stored value. Raises DicomError if one has bits above BitsStored in use (damage,
    or an overlay of old) or is no HU of a CT scale."""
    limits = (-(2 ** (form.bits_stored - 1)), 2 ** (form.bits_stored - 1)) if form.signed else (0, 2**form.bits_stored)
    if not (limits[0] <= lowest and highest < limits[1]):
        raise elements.error(f"stored values beyond the {form.bits_stored} bits stored", "damaged, or export it again")
    ends = lowest * form.slope + form.intercept, highest * form.slope + form.intercept
    if not (ends[0] >= -LARGEST_HU and ends[1] <= LARGEST_HU):
        raise elements.error(f"{ends[0]:g} to {ends[1]:g} HU, no CT scale", "damaged pixels or rescale, copy it again")
    return ends


def _check_length(elements: Elements, expected: int) -> None:
    pixels = elements.pixels
    if pixels is None:
        raise elements.error("no pixel data after the header", "truncated or not an image, copy it again")
    if elements.syntax.is_encapsulated != (pixels.length is None):
        raise elements.error("the length of the pixel data contradicts the transfer syntax")
    if pixels.length is None:
        return
    if not expected <= pixels.length <= expected + expected % 2:
        raise elements.error(f"{pixels.length} bytes of pixel data, expected {expected}")
    if (left := elements.size - pixels.offset) < expected:
        raise elements.error(f"truncated, {left} bytes of pixel data where {expected} are expected", "copy it again")


def _check_end(elements: Elements) -> None:
    """Nothing, or another element, follows: bytes inserted somewhere push the last pixels out of their place."""
    data, end = elements.data, elements.pixels.offset + elements.pixels.length
    order = "<HH2s" if elements.little_endian else ">HH2s"
    group, number, vr = struct.unpack(order, data[end : end + 6].ljust(6, b"\0"))
    follows = (0x7FE0, 0x0010) < (group, number) <= (0xFFFC, 0xFFFC)
    if end < len(data) and not (follows and (elements.implicit or re.fullmatch(b"[A-Z]{2}", vr))):
        raise elements.error(f"{len(data) - end} bytes that belong to nothing follow the pixel data")


def _decompressed(elements: Elements, form: PixelForm) -> np.ndarray:
    syntax = elements.syntax
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # of video, of the later parts of JPEG 2000: no package that we know decodes them
        raise elements.error(f"compressed as {syntax.name}, for which there is no decoder",
                             "export it as Explicit VR Little Endian") from None
    if not decoder.is_available:
        package = "pylibjpeg-openjpeg" if "2000" in syntax.name else "pylibjpeg-libjpeg"
        missing = "; ".join(decoder.missing_dependencies)
        remedy = f"run 'pip install pylibjpeg {package}'" + (f" (any of: {missing})" if missing else "")
        raise elements.error(f"compressed as {syntax.name}, no decoder is installed", remedy)
    try:
        frame = _frame(elements)
        if syntax in JPEG2000TransferSyntaxes:
            frame = _codestream(frame)
            _check_codestream(frame, form)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored, _ = decoder.as_array(
                encapsulate([frame], has_bot=False), rows=form.rows, columns=form.columns, bits_allocated=16,
                bits_stored=form.bits_stored, pixel_representation=int(form.signed), samples_per_pixel=1,
                number_of_frames=1, photometric_interpretation="MONOCHROME2", planar_configuration=0,
                pixel_keyword="PixelData", correct_unused_bits=False,
            )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom's decoders raise many kinds
        text = " ".join(str(error).split())[:120]
        raise elements.error(f"the pixel data cannot be decoded ({text})") from None
    if stored.shape != (form.rows, form.columns) or stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        raise elements.error(f"pixel data of shape {stored.shape}, expected ({form.rows}, {form.columns})")
    return stored.astype(np.int16 if form.signed else np.uint16, copy=False)


def _frame(elements: Elements) -> bytes:
    """The one frame's codestream. Raises ValueError."""
    data = io.BytesIO(elements.data)
    data.seek(elements.pixels.offset)
    if parse_basic_offsets(data) not in ([], [0]):
        raise ValueError("expected one frame")
    frame = b"".join(generate_fragments(data))
    if elements.data[data.tell() - 4 : data.tell() + 4] != _DELIMITER:  # pydicom takes data that end too early
        raise ValueError("the compressed data end too early")
    return frame


def _codestream(frame: bytes) -> bytes:
    """The JPEG 2000 codestream of a frame, out of a JP2 file's boxes where an exporter left them. Raises ValueError."""
    if not frame.startswith(_JP2):
        return frame
    at = 0
    while at + 16 <= len(frame):
        size, kind, large = struct.unpack_from(">I4sQ", frame, at)
        begin = at + (16 if size == 1 else 8)
        end = len(frame) if size == 0 else at + (large if size == 1 else size)
        if kind == b"jp2c":
            return frame[begin:end]
        if end < begin:
            break
        at = end
    raise ValueError("a JP2 file without a codestream")


def _check_codestream(frame: bytes, form: PixelForm) -> None:
    """A JPEG 2000 codestream of this matrix and precision with all its tiles and its end? Raises ValueError: the decoder
    would fill what is missing with a flat grey, and take memory for any size that is claimed."""
    if len(frame) < 51 or struct.unpack_from(">HH", frame) != (_SOC, _SIZ):
        raise ValueError("no JPEG 2000 codestream")
    width, height, *offsets, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", frame, 8)
    components, precision, *steps = struct.unpack_from(">HBBB", frame, 40)
    found = (width, height, *offsets, tile_left, tile_top, components, *steps)
    if found != (form.columns, form.rows, 0, 0, 0, 0, 1, 1, 1) or not tile_width or not tile_height:
        raise ValueError(f"a codestream of {width} x {height}, {components} component(s), in a slice of another form")
    bits, signed = (precision & 0x7F) + 1, precision > 0x7F
    fewer = 8 < bits < form.bits_stored and signed == form.signed  # a writer rounded BitsStored up: the same values
    if not (fewer or bits in (form.bits_stored, 16)) or (signed and not form.signed):
        raise ValueError("the codestream's precision or sign contradicts the header")
    tiles = -(-width // tile_width) * -(-height // tile_height)
    if tiles > 65535:
        raise ValueError(f"a codestream of {tiles} tiles")
    at, seen = 2, set()
    while at + 4 <= len(frame):
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _SOT:
            tile, part = struct.unpack_from(">HI", frame, at + 4) if at + 10 <= len(frame) else (0, 0)
            seen.add(tile)
            if not part:
                break  # up to the end of the codestream
            if part < 14 or at + part > len(frame):
                raise ValueError("the codestream ends too early")
            at += part
        elif marker == _EOC:
            break
        elif 0xFF4F <= marker <= 0xFF6F and not seen:
            at += 2 + length
        else:
            raise ValueError("the codestream is not a chain of markers")
    if seen != set(range(tiles)) or frame.rstrip(b"\0")[-2:] != b"\xff\xd9":
        raise ValueError("the codestream lacks a tile or its end")
