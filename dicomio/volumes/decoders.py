"""Decompresses one frame, with the decoder that we chose for its transfer syntax.

The decoders are called directly, not through pydicom's search for plugins: which one decodes must not depend on what
else is installed (pylibjpeg-libjpeg is GPL), pydicom refuses 12-bit JPEG that GDCM decodes well, and its OpenJPEG
plugin wants a further package. RLE is pydicom's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import gdcm
import jpeg_ls  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from openjpeg import utils as openjpeg
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a decoder has to know of a frame beside its bytes.

    Attributes:
        shape: Rows, columns.
        bits_allocated: Size of a decoded pixel, 8, 16 or 32.
        bits_stored: Bits of it that count.
        signed: PixelRepresentation is 1.
        transfer_syntax: UID.
    """

    shape: tuple[int, int]
    bits_allocated: int
    bits_stored: int
    signed: bool
    transfer_syntax: str


def decode(frame: bytes, encoded: Encoded) -> np.ndarray:
    """Decompress one grey frame.

    Returns:
        (rows, columns) of the stored values, signed or unsigned as the header says, in the size that the decoder gave.

    Raises:
        ValueError: The bytes are not what the header says, or the decoder gave up.
    """
    array, bits = _DECODERS[encoded.transfer_syntax](frame, encoded)
    if array.size != encoded.shape[0] * encoded.shape[1]:
        raise ValueError(f"{array.size} pixels came out, {encoded.shape[0]} × {encoded.shape[1]} are announced")
    return with_sign(array.reshape(encoded.shape), bits, signed=encoded.signed)


def with_sign(stored: np.ndarray, bits: int, *, signed: bool) -> np.ndarray:
    """The low `bits` of each pixel as a signed or unsigned number; above them may be anything (PS3.5, 8.1.1)."""
    size = stored.dtype.itemsize
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    unused = 8 * size - bits
    shifted = native.view(f"u{size}") << unused if unused else native
    result: np.ndarray = shifted.view(f"{'i' if signed else 'u'}{size}")
    return result >> unused if unused else result


def _by_gdcm(frame: bytes, encoded: Encoded) -> tuple[np.ndarray, int]:
    """JPEG in all its processes (ISO 10918-1), and JPEG-LS where CharLS gives up."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((encoded.shape[1], encoded.shape[0], 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(encoded.transfer_syntax)))
    bits = encoded.bits_allocated  # the code stream knows its own precision; told a smaller one, GDCM garbles it
    image.SetPixelFormat(gdcm.PixelFormat(1, bits, bits, bits - 1, int(encoded.signed)))
    text = image.GetBuffer()  # bytes in the guise of text, None when decoding failed
    if text is None:
        raise ValueError("GDCM says: the compressed stream is damaged")
    return _pixels(text.encode("utf-8", "surrogateescape"), encoded), encoded.bits_stored


def _by_openjpeg(frame: bytes, encoded: Encoded) -> tuple[np.ndarray, int]:
    """JPEG 2000 and its high-throughput form (ISO 15444)."""
    try:
        bits = int(openjpeg.get_parameters(frame)["precision"])
        data = bytes(openjpeg.decode_pixel_data(frame, version=2))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"OpenJPEG says: {error}") from error
    return _pixels(data, encoded), bits


def _by_charls(frame: bytes, encoded: Encoded) -> tuple[np.ndarray, int]:
    """JPEG-LS (ISO 14495-1).

    Some encoders put a zero byte too much before the end mark (NEMA's MR1_JLSL has one), which CharLS refuses since
    2.3. It is then asked without such bytes, and last GDCM, whose CharLS is older and more lenient.
    """
    refusals = []
    for stream in (frame, *_without_padding(frame)):
        try:
            data, described = jpeg_ls.decode_pixel_data(stream)
            return _pixels(data, encoded), int(described["bits_per_sample"])
        except RuntimeError as error:
            refusals.append(str(error))
    try:
        return _by_gdcm(frame, encoded)
    except ValueError as error:
        raise ValueError(f"CharLS says: {refusals[0]}; {error}") from error


def _without_padding(frame: bytes) -> Iterator[bytes]:
    """The stream with fewer and fewer of the zero bytes before its end mark, up to four of them."""
    body = frame.rstrip(b"\0").removesuffix(_END_OF_IMAGE)
    for _ in range(4):
        if not body.endswith(b"\0"):
            return
        body = body[:-1]
        yield body + _END_OF_IMAGE


def _by_pydicom(frame: bytes, encoded: Encoded) -> tuple[np.ndarray, int]:
    """Run-length encoding (PS3.5, annex G)."""
    array, _ = get_decoder(uid.RLELossless).as_array(  # raises RuntimeError, ValueError
        encapsulate([frame], has_bot=False),
        index=0,
        raw=True,
        decoding_plugin="pydicom",
        rows=encoded.shape[0],
        columns=encoded.shape[1],
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=encoded.bits_allocated,
        bits_stored=encoded.bits_stored,
        pixel_representation=int(encoded.signed),
    )
    return array, encoded.bits_stored


def _pixels(data: bytes | bytearray, encoded: Encoded) -> np.ndarray:
    """Little endian pixels of whatever size there is for each."""
    size = len(data) // max(1, encoded.shape[0] * encoded.shape[1])
    if size not in (1, 2, 4):
        raise ValueError(f"{len(data)} bytes came out for {encoded.shape[0]} × {encoded.shape[1]} pixels")
    return np.frombuffer(data, dtype=f"<u{size}")


_DECODERS: Mapping[str, Callable[[bytes, Encoded], tuple[np.ndarray, int]]] = {
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), _by_gdcm),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), _by_charls),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), _by_openjpeg),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), _by_openjpeg),
    uid.RLELossless: _by_pydicom,
}
COMPRESSED = frozenset(_DECODERS)
UNCOMPRESSED = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
