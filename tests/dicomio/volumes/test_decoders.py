"""Every compressed transfer syntax: lossless ones give exactly the uncompressed pixels, lossy ones come close."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import jpeg_ls
import numpy as np
import pydicom
import pytest
from openjpeg import utils as openjpeg
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicomio.files.part10 import parse
from dicomio.volumes.decoders import COMPRESSED, Encoded, decode
from dicomio.volumes.frames import frames_of
from dicomio.volumes.refusals.geometry import TooFewSlices
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import compressed, enhanced, image, stack

LOSSLESS = {
    "JPEG lossless, process 14": ("dcmcjpeg", "+el"),
    "JPEG lossless, first-order prediction": ("dcmcjpeg", "+e1"),
    "JPEG-LS lossless": ("dcmcjpls", "+el"),
    "RLE": ("dcmcrle",),
    "big endian": ("dcmconv", "+tb"),
    "implicit": ("dcmconv", "+ti"),
    "deflated": ("dcmconv", "+td"),
}
LOSSY = {  # and how far a pixel may be off, in the unit of the modality
    "JPEG baseline, 8 bits": (("dcmcjpeg", "+eb"), 130),
    "JPEG extended, 12 bits": (("dcmcjpeg", "+ee"), 20),
    "JPEG-LS near-lossless": (("dcmcjpls", "+en"), 2),
}


HTJ2K_UNSIGNED = (
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH8AAf+TwAAmEfsFB3QAAMAAEsAAEwA0Aod0"
    "AKL+Agd0AMAAE0AAE4CYMQICdABQof4AY1QAwAAVMAAFUMTExMSqcYJ1AKQkEunAIQHstgDAACvgABaISCQSiUQikefKenpxAngA"
    "SARBEARB/v2EIHv2EIHsugD/2Q=="
)
# made with OpenJPH from the pattern in the test below; nothing that we install writes HTJ2K
HTJ2K_SIGNED = (
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH8AAf+TwAAmsfoDB3QAAMAAEsAAEwA0Aod0"
    "AKL+Agd0AMAAE0AAE4CYMQICdABQof4AY1QAwAAVMAAFUMTExMSqcYJ1AKQkEunAIQHstgDAACvgABaISCQSiUQikefKenpxAngA"
    "SARBEARB/v2EIHv2EIHsugD/2Q=="
)


def pattern(dtype: str) -> np.ndarray:
    """64 x 64 values, with negative ones if the type has them."""
    rows, columns = np.indices((64, 64))
    values = (rows * 7 + columns * 11) % 200 - (100 if dtype.startswith("i") else 0)
    return (values * (1 if dtype.endswith("1") else 20)).astype(dtype)


def form(values: np.ndarray, bits: int, syntax: str) -> Encoded:
    return Encoded(values.shape, 8 * values.dtype.itemsize, bits, values.dtype.kind == "i", syntax)


def one(path: Path) -> np.ndarray:
    """The values of a single image."""
    return load_volume([path], allow=[TooFewSlices]).array[0]


@pytest.fixture
def real(dicom_samples: Path) -> dict[str, Path]:
    """A real CT slice (16 bits, unsigned) and a real MR slice (12 bits)."""
    return {
        "ct": sorted((dicom_samples / "abdomen-ct-chaos/dicom").iterdir())[30],
        "mr": sorted((dicom_samples / "brain-mr-philips-flair").iterdir())[10],
    }


@pytest.fixture
def convert(needs: Callable[..., str], tmp_path: Path) -> Callable[..., Path]:
    def run(source: Path, program: str, *options: str) -> Path:
        target = tmp_path / "converted.dcm"
        subprocess.run([needs(program, package="dcmtk"), *options, str(source), str(target)], check=True)
        return target

    return run


@pytest.mark.parametrize("kind", ["ct", "mr"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_real_image_survives_lossless_compression(
    real: dict[str, Path], convert: Callable[..., Path], kind: str, name: str
) -> None:
    np.testing.assert_array_equal(one(convert(real[kind], *LOSSLESS[name])), one(real[kind]))


@pytest.mark.parametrize("name", LOSSY)
def test_a_real_image_comes_close_after_lossy_compression(
    real: dict[str, Path], convert: Callable[..., Path], name: str
) -> None:
    command, tolerance = LOSSY[name]
    original, after = one(real["ct"]).astype(float), one(convert(real["ct"], *command))
    assert np.abs(after - original).max() <= tolerance
    assert np.abs(after - original).mean() < tolerance / 2
    assert (after != original).any()


def test_lossless_signed_pixels_of_12_bits_keep_their_sign(convert: Callable[..., Path], tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        values = (np.arange(48) * 80 - 1900).astype(np.int16)
        ds.PixelData, ds.PixelRepresentation = values.tobytes(), 1

    (path,) = stack(tmp_path, 1, modality="MR", change=change)
    expected = one(path)
    assert expected.min() == -1900
    for command in LOSSLESS.values():
        np.testing.assert_array_equal(one(convert(path, *command)), expected, err_msg=str(command))


@pytest.mark.parametrize(("syntax", "options"), [(JPEG2000Lossless, {}), (JPEG2000, {"compression_ratios": [4]})])
@pytest.mark.parametrize(("dtype", "bits"), [("u2", 12), ("i2", 12), ("i2", 16), ("u1", 8)])
def test_jpeg_2000(syntax: str, options: dict[str, object], dtype: str, bits: int) -> None:
    values = pattern(dtype)
    stream = bytes(openjpeg.encode_array(values, bits_stored=bits, **options))
    difference = np.abs(decode(stream, form(values, bits, syntax)).astype(int) - values)
    if syntax == JPEG2000Lossless:
        assert difference.max() == 0
    else:
        assert 0 < difference.mean() < (20 if bits == 8 else 400)


@pytest.mark.parametrize(("stream", "lowest"), [(HTJ2K_UNSIGNED, 0), (HTJ2K_SIGNED, -2000)])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000(syntax: str, stream: str, lowest: int) -> None:
    rows, columns = np.indices((16, 16))
    values = (rows * 37 + columns * 101) % 4000 + lowest
    encoded = Encoded((16, 16), 16, 16, lowest < 0, syntax)
    np.testing.assert_array_equal(decode(base64.b64decode(stream), encoded), values)


@pytest.mark.parametrize(("syntax", "lossy_error"), [(JPEGLSLossless, 0), (JPEGLSNearLossless, 3)])
@pytest.mark.parametrize(("dtype", "bits"), [("u2", 12), ("i2", 12), ("u2", 16), ("u1", 8)])
def test_jpeg_ls(syntax: str, lossy_error: int, dtype: str, bits: int) -> None:
    values = pattern(dtype)
    unsigned = (values.astype(int) & ((1 << bits) - 1)).astype(f"u{values.dtype.itemsize}")
    error = lossy_error if values.dtype.kind == "u" else 0
    stream = bytes(jpeg_ls.encode_array(unsigned, lossy_error=error))
    assert np.abs(decode(stream, form(values, bits, syntax)).astype(int) - values).max() <= error


@pytest.mark.parametrize(("dtype", "bits"), [("u2", 12), ("i2", 12), ("u2", 16), ("u1", 8)])
@pytest.mark.parametrize("padding", [1, 2])
def test_jpeg_ls_with_zeros_before_its_end_mark(dtype: str, bits: int, padding: int) -> None:
    """As NEMA's MR1_JLSL has one: CharLS refuses that since 2.3 (team-charls/charls#437)."""
    values = pattern(dtype)
    unsigned = (values.astype(int) & ((1 << bits) - 1)).astype(f"u{values.dtype.itemsize}")
    stream = bytes(jpeg_ls.encode_array(unsigned))
    padded = stream[:-2] + bytes(padding) + stream[-2:]
    with pytest.raises(RuntimeError):
        jpeg_ls.decode_pixel_data(padded)
    np.testing.assert_array_equal(decode(padded, form(values, bits, JPEGLSLossless)), values)


def test_an_error_in_jpeg_ls_says_which_decoders_were_tried() -> None:
    values = pattern("u2")
    stream = bytes(jpeg_ls.encode_array(values))
    with pytest.raises(ValueError, match=r"CharLS says: .*; GDCM says: "):
        decode(stream[: len(stream) // 2], form(values, 12, JPEGLSLossless))


@pytest.mark.parametrize(("syntax", "words"), [(JPEG2000, "OpenJPEG says"), (JPEGLosslessSV1, "GDCM says")])
def test_an_error_names_the_decoder(syntax: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(b"\xff\xd8\xff\xe0" + bytes(100), Encoded((64, 64), 16, 12, False, syntax))


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"],
)
def test_pydicoms_own_variants_of_one_image_are_one(name: str) -> None:
    expected = one(Path(str(get_testdata_file("MR_small.dcm"))))
    np.testing.assert_array_equal(one(Path(str(get_testdata_file(f"{name}.dcm")))), expected)


@pytest.mark.parametrize("name", ["693_J2KI", "J2K_pixelrep_mismatch"])
def test_jpeg_2000_of_the_wild_is_what_another_decoder_says(name: str) -> None:
    path = Path(str(get_testdata_file(f"{name}.dcm")))
    ds = pydicom.dcmread(path)
    expected, _ = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, decoding_plugin="gdcm")
    (frame,) = frames_of(parse(path))
    np.testing.assert_array_equal(next(frame.pixels.read([0])), expected)


def test_jpeg_of_12_bits_of_the_wild_is_what_dcmtk_says(convert: Callable[..., Path]) -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm")))
    ds, expected = pydicom.dcmread(path), pydicom.dcmread(convert(path, "dcmdjpeg")).pixel_array
    stream = get_frame(ds.PixelData, 0, number_of_frames=1)
    encoded = Encoded(expected.shape, 16, 12, False, ds.file_meta.TransferSyntaxUID)
    np.testing.assert_array_equal(decode(stream, encoded), expected)


@pytest.mark.parametrize("syntax", sorted(COMPRESSED))
@pytest.mark.parametrize("stream", [b"", bytes(300), b"\xff\xd8\xff\xe0" + bytes(100)], ids=["empty", "zeros", "head"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_stream_is_an_error_and_no_image(syntax: str, stream: bytes) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        decode(stream, Encoded((64, 64), 16, 12, False, syntax))


def test_frames_of_a_compressed_multiframe_image_find_their_slices(tmp_path: Path) -> None:
    heights = [5.0, 0.0, 7.5, 2.5]
    ds = enhanced([(0, 0, height) for height in heights])
    frames = [bytes(jpeg_ls.encode_array(image(number) + np.uint16(300))) for number in range(4)]
    path = compressed(ds, frames, tmp_path / "enhanced.dcm", JPEGLSLossless)
    volume = load_volume([path])
    np.testing.assert_array_equal(volume.array, [image(number) + 300 for number in (1, 3, 0, 2)])


def test_every_known_syntax_is_tried_here() -> None:
    tried = {JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K, JPEGLSLossless, JPEGLSNearLossless}
    tried |= {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, RLELossless}
    assert tried == COMPRESSED
