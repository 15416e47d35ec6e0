"""Image files of every format are decoded to 8-bit RGB; broken ones are rejected with a one-line error."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, features

from ppzoo.data.transforms import Compose, CropImage, DecodeImage, RandCropImage, ResizeImage
from ppzoo.data.transforms.jpeg_header import read_jpeg_header
from ppzoo.errors import ConfigError, DataError

HEIGHT, WIDTH = 21, 34


@pytest.fixture
def colors():
    """A smooth image, which even lossy formats keep well."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([y * 255 // HEIGHT, x * 255 // WIDTH, 255 - y * 255 // HEIGHT], axis=2).astype(np.uint8)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data, **options):
    return Compose([DecodeImage(**options)])(data)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_are_exact(colors, kind, backend):
    data = encode(Image.fromarray(colors), kind, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = decode(data, backend=backend)
    assert decoded.dtype == np.uint8
    assert (decoded == colors).all()


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_lossy_formats_are_close(colors, backend):
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "RGB")):
        decoded = decode(encode(Image.fromarray(colors).convert(mode), kind), backend=backend)
        assert decoded.shape == colors.shape
        assert np.abs(decoded.astype(int) - colors).mean() < 8, (kind, mode)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_images_can_be_decoded_as_gray_or_with_alpha_channel(colors, backend):
    image = Image.fromarray(colors)
    gray = decode(encode(image, "PNG"), backend=backend, channels=1)
    assert gray.shape == (HEIGHT, WIDTH, 1)
    assert np.abs(gray[:, :, 0].astype(int) - np.asarray(image.convert("L"))).max() <= 1
    assert (decode(encode(image.convert("L"), "PNG"), backend=backend, channels=1)[:, :, 0] == image.convert("L")).all()

    transparency = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    alpha = np.dstack([colors, transparency])
    assert (decode(encode(Image.fromarray(alpha), "PNG"), backend=backend, channels=4) == alpha).all()
    blue_first = decode(encode(Image.fromarray(alpha), "PNG"), backend=backend, channels=4, to_rgb=False)
    assert (blue_first == alpha[:, :, [2, 1, 0, 3]]).all()
    for kind in ("RGB", "L", "P", "I;16", "CMYK"):
        source = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256) if kind == "I;16" else (
            image.convert(kind))  # fmt: skip
        data = encode(source, "TIFF" if kind == "CMYK" else "PNG")
        decoded = decode(data, backend=backend, channels=4)
        assert (decoded[:, :, 3] == 255).all(), kind
        assert (decoded[:, :, :3] == decode(data, backend="pil")).all(), kind


def test_arrays_are_converted_to_the_number_of_channels(colors):
    assert decode(colors, channels=1).shape == (HEIGHT, WIDTH, 1)
    assert decode(colors[:, :, :1], channels=4)[0, 0].tolist() == [*[colors[0, 0, 0]] * 3, 255]
    assert decode(colors[:, :, :1]).shape == (HEIGHT, WIDTH, 1)
    with pytest.raises(ConfigError, match="channels"):
        DecodeImage(channels=2)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_all_pixel_formats_become_8_bit_rgb(colors, backend):
    image = Image.fromarray(colors)
    gray = np.asarray(image.convert("L"))
    palette = image.convert("P")
    alpha = np.dstack([colors, np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)])
    wide = cv2.imencode(".png", colors[:, :, ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
    wide_gray = cv2.imencode(".png", gray.astype(np.uint16) * 256 + 77)[1].tobytes()
    for data, expected in (
        (encode(image.convert("L"), "PNG"), np.dstack([gray] * 3)),
        (encode(image.convert("LA"), "PNG"), np.dstack([gray] * 3)),
        (encode(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        (encode(image.convert("1"), "PNG"), np.asarray(image.convert("1").convert("RGB"))),
        (encode(Image.fromarray(alpha), "PNG"), colors),
        (wide, colors),
        (wide_gray, np.dstack([gray] * 3)),
    ):
        assert (decode(data, backend=backend) == expected).all()


def test_the_first_frame_of_an_animation_is_decoded(colors):
    first, second = Image.fromarray(colors), Image.fromarray(255 - colors)
    data = encode(first, "PNG", save_all=True, append_images=[second])
    assert (decode(data) == colors).all()


def test_opencv_applies_the_exif_orientation_and_pillow_does_not(colors):
    exif = Image.Exif()
    exif[0x112] = 6
    data = encode(Image.fromarray(colors), "JPEG", exif=exif)
    assert decode(data).shape == (WIDTH, HEIGHT, 3)
    assert decode(data, backend="PIL").shape == (HEIGHT, WIDTH, 3)


def test_channel_order_options_apply_to_files_and_arrays(colors):
    for source in (encode(Image.fromarray(colors), "PNG"), colors):
        assert (decode(source) == colors).all()
        assert (decode(source, to_rgb=False) == colors[:, :, ::-1]).all()
        assert (decode(source, channel_first=True) == colors.transpose(2, 0, 1)).all()
    with pytest.raises(ConfigError, match="backend"):
        DecodeImage(backend="turbo")


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_rejected(colors, kind, backend):
    data = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    for length in (len(data) // 2, len(data) // 10):
        with pytest.raises(DataError):
            decode(data[:length], backend=backend)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_a_png_with_a_wrong_checksum_is_rejected(colors, backend):
    data = bytearray(encode(Image.fromarray(colors), "PNG"))
    data[data.index(b"IDAT") - 4 + 8 + struct.unpack(">I", data[data.index(b"IDAT") - 4 : data.index(b"IDAT")])[0]] ^= 1
    with pytest.raises(DataError, match="expected an image"):
        decode(bytes(data), backend=backend)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_is_decoded_in_every_animation_format(kind, backend):
    first, second = (Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue"))
    data = encode(first, kind, save_all=True, append_images=[second], duration=100)
    assert np.abs(decode(data, backend=backend).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_an_image_of_one_pixel_is_decoded(backend):
    assert decode(encode(Image.new("RGB", (1, 1), "red"), "PNG"), backend=backend).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_a_truncated_cmyk_image_is_rejected(colors, backend):
    data = encode(Image.fromarray(colors).convert("CMYK"), "JPEG", quality=95)
    with pytest.raises(DataError, match="expected an image"):
        decode(data[: len(data) // 2], backend=backend)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff" + b"0" * 50, b"<html></html>" * 30, bytes(1000)])
def test_files_that_are_not_images_are_rejected(data):
    with pytest.raises(DataError, match="expected an image") as caught:
        decode(data)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "JPEG2000", "AVIF"])
def test_damaged_files_give_an_image_or_a_data_error(colors, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x112] = 6
    complete = np.frombuffer(
        encode(Image.fromarray(colors), kind, **({"exif": exif} if kind == "JPEG" else {})), np.uint8
    )
    crop = RandCropImage(size=8)
    ways = [[DecodeImage()], [DecodeImage(backend="pil")], [DecodeImage(reduced=1), crop], [DecodeImage(channels=4)]]
    for number in range(40):
        damaged = complete.copy()
        positions = random.integers(0, len(complete) if number % 2 else min(len(complete), 60), 5)
        damaged[positions] = random.integers(0, 256, 5)
        data = damaged.tobytes()[: None if number % 4 else random.integers(1, len(complete))]
        for way in ways:
            with contextlib.suppress(DataError):
                assert Compose(way)(data, np.random.default_rng(0)).ndim == 3


def png_of(width, height):
    """A PNG whose header has a size, without the pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (178_000_001, 1), (2**31 - 1, 2**31 - 1)])
def test_too_large_images_are_rejected_by_their_header(width, height):
    with pytest.raises(DataError, match="at most 178000000 pixels"):
        decode(png_of(width, height))


def frame(width, height, kind=0xC0):
    """A frame header of a JPEG with three components."""
    return struct.pack(">BBHBHHB", 0xFF, kind, 17, 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1"


def ordinary_jpeg(width=16, height=16):
    return encode(Image.new("RGB", (width, height)), "JPEG")


def segment(kind, content=b""):
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def jpeg_of_size(width, height, before):
    """A sound JPEG of 16 x 16 pixels, changed to another size, with bytes before its first segment."""
    data = ordinary_jpeg()
    start = data.index(b"\xff\xc0")
    changed = data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]
    return changed[:2] + before + changed[2:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("options", [{}, {"backend": "pil"}, {"channels": 1}, {"channels": 4}, {"reduced": 1}])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        # markers without a length; a reader that skips "their length" meets the small frame
        *(bytes((0xFF, marker)) + struct.pack(">H", 2) + frame(8, 8) for marker in (0xD0, 0xD7, 0xD8, 0xD9, 0x01)),
        *(bytes((0xFF, marker)) for marker in (0xD0, 0xD8, 0x01, 0x02, 0xF0, 0xFD)),
        b"\xff\x00",
        b"\xff\xff\xff",
        b"garbage",
        segment(0xFE, frame(8, 8)),
        segment(0xE1, frame(8, 8)),
        segment(0xDC, b"\0\x08"),
        frame(8, 8),
        frame(8, 8, 0xC3),
        frame(8, 8, 0xC9),
        segment(0xC8) + frame(8, 8),
    ],
)
def test_a_jpeg_cannot_hide_its_size(before, options):
    data = jpeg_of_size(60_000, 60_000, before)
    follower = [RandCropImage(size=8)] if "reduced" in options else []
    with pytest.raises(DataError):
        Compose([DecodeImage(**options), *follower])(data)
    if before == b"":
        with pytest.raises(DataError, match="at most 178000000 pixels, got 60000 x 60000"):
            Compose([DecodeImage(**options), *follower])(data)


@pytest.mark.parametrize("marker", [0x01, 0xC8, *range(0xD0, 0xDA), 0xDC, 0xDE, 0xDF, 0xF0, 0xFD])
def test_a_marker_without_a_length_does_not_lead_to_another_size(marker):
    large = jpeg_of_size(15_000, 12_000, b"")
    jump = struct.pack(">BBH", 0xFF, marker, 2 + len(large) - 2)
    with pytest.raises(DataError):
        decode(large[:2] + jump + large[2:] + frame(8, 8) + bytes(20))


@pytest.mark.parametrize("before", [b"\xff\xd0", b"\xff\xff", b"garbage", segment(0xFE, frame(60_000, 60_000))])
def test_only_unambiguous_jpegs_are_ordinary(before):
    header = read_jpeg_header(jpeg_of_size(8, 8, before))
    assert header is None or (before[:2] in (b"\xff\xff", b"\xff\xfe") and header[:2] == (8, 8))


def tiled_tiff(side):
    """A TIFF of 10 x 10 pixels in one tile of another size."""
    tags = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 108) + bytes(100) + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_too_large_tiles_and_chunks_are_rejected():
    with pytest.raises(DataError, match="got 16384 x 16384"):
        decode(tiled_tiff(16384))
    data = encode(Image.new("RGB", (8, 8)), "PNG")
    place = data.index(b"IDAT") - 4
    with pytest.raises(DataError):
        decode(data[:place] + struct.pack(">I", 2**31 - 1) + data[place + 4 :])


@pytest.mark.parametrize("follower", [ResizeImage(resize_short=256), ResizeImage(resize_short=256, backend="pil")])
@pytest.mark.parametrize("reduced", [None, 1])
def test_resizing_a_narrow_image_to_too_many_pixels_is_rejected(follower, reduced):
    data = encode(Image.new("L", (1, 60_000)), "JPEG")
    with pytest.raises(DataError, match=r"ResizeImage: .* at most 178000000 pixels, got 2\d\d x \d+"):
        Compose([DecodeImage(reduced=reduced), follower, CropImage(size=224)])(data)


BROKEN_JPEGS = {
    "height 0": lambda data: data[: data.index(b"\xff\xc0") + 5] + b"\0\0" + data[data.index(b"\xff\xc0") + 7 :],
    "width 0": lambda data: data[: data.index(b"\xff\xc0") + 7] + b"\0\0" + data[data.index(b"\xff\xc0") + 9 :],
    "EXIF cut off": lambda data: data[:40],
    "cut off in the frame": lambda data: data[: data.index(b"\xff\xc0") + 8],
    "EXIF beyond the end": lambda data: data[:4] + b"\xff\xff" + data[6:],
    "no scan": lambda data: data[: data.index(b"\xff\xda")],
    "12 bits": lambda data: data[: data.index(b"\xff\xc0") + 4] + b"\x0c" + data[data.index(b"\xff\xc0") + 5 :],
    "nothing but a start": lambda data: data[:3],
}


@pytest.mark.parametrize("kind", BROKEN_JPEGS)
@pytest.mark.parametrize("follower", [RandCropImage(size=8), ResizeImage(resize_short=8)])
def test_a_broken_jpeg_is_a_data_error_whether_reduced_or_not(kind, follower):
    exif = Image.Exif()
    exif[0x112] = 6
    data = BROKEN_JPEGS[kind](encode(Image.new("RGB", (32, 48), "red"), "JPEG", exif=exif))
    for options in ({}, {"reduced": 1}, {"reduced": 0.5}, {"backend": "pil"}):
        with pytest.raises(DataError, match="expected an image") as caught:
            Compose([DecodeImage(**options), follower])(data)
        assert "\n" not in str(caught.value)


def test_pillow_does_not_run_other_programs():
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    binary = struct.pack("<IIIIIIIH", 0xC6D3D0C5, 30, len(text), 0, 0, 0, 0, 0) + text
    for eps in (text, binary):
        with Image.open(io.BytesIO(eps)) as image:
            assert image.format == "EPS"
        with pytest.raises(DataError, match="expected an image"):
            decode(eps)


def test_arrays_that_are_not_images_are_rejected():
    for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((3, 4, 4), np.uint8)):
        with pytest.raises(DataError, match="H x W x 3 uint8"):
            decode(array)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("follower", "needed", "divisor"), [
    (RandCropImage(size=32, scale=[0.9, 1.0]), 1, 4),
    (RandCropImage(size=32, scale=[0.9, 1.0]), 0.5, 8),
    (RandCropImage(size=200), 1, 1),
    (ResizeImage(resize_short=90), 1, 2),
    (ResizeImage(size=[40, 50]), 0.9, 4),
])  # fmt: skip
def test_reduced_decoding_gives_the_same_crop_from_fewer_pixels(follower, needed, divisor, turned, monkeypatch):
    y, x = np.mgrid[:216, :264]
    smooth = np.stack([y, x * 255 // 264, 255 - y], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6 if turned else 1
    data = encode(Image.fromarray(smooth), "JPEG", quality=95, exif=exif)
    divisors = []
    decode_window = DecodeImage.decode_window
    monkeypatch.setattr(
        DecodeImage, "decode_window", lambda *given: divisors.append(given[-1]) or decode_window(*given)
    )
    for seed in range(5):
        complete = follower(DecodeImage()(data, None), np.random.default_rng(seed))
        reduced = Compose([DecodeImage(reduced=needed), follower])(data, np.random.default_rng(seed))
        assert reduced.shape == complete.shape
        assert np.abs(reduced.astype(int) - complete).mean() < 3
        if divisor == 1:
            assert (reduced == complete).all()
    assert max(divisors) == divisor


def test_other_formats_are_decoded_at_full_size_with_reduced(colors):
    crop = RandCropImage(size=8)
    for source in (encode(Image.fromarray(colors), "PNG"), colors):
        complete, reduced = (
            Compose([DecodeImage(reduced=needed), crop])(source, np.random.default_rng(1)) for needed in (None, 1)
        )
        assert (complete == reduced).all()
    with pytest.raises(DataError, match="expected an image"):
        Compose([DecodeImage(reduced=1), crop])(b"no image")


@pytest.mark.parametrize(
    "transforms",
    [
        lambda: [DecodeImage(reduced=0.5)],
        lambda: [DecodeImage(reduced=1), CropImage(size=8)],
        lambda: [DecodeImage(reduced=0), RandCropImage(size=8)],
        lambda: [DecodeImage(reduced=1.5), RandCropImage(size=8)],
        lambda: [DecodeImage(reduced=1, backend="pil"), RandCropImage(size=8)],
        lambda: [DecodeImage(reduced=1, channels=1), RandCropImage(size=8)],
    ],
)
def test_reduced_decoding_without_a_resize_is_rejected(transforms):
    with pytest.raises(ConfigError, match=r"DecodeImage\.reduced: expected"):
        Compose(transforms())


def test_the_size_of_a_jpeg_equals_pillows(colors):
    for options in (
        {},
        {"progressive": True},
        {"comment": b"x" * 70},
        {"exif": Image.Exif()},
        {"icc_profile": b"y" * 70000},
    ):
        data = encode(Image.fromarray(colors), "JPEG", **options)
        assert read_jpeg_header(data)[:2] == (WIDTH, HEIGHT)
        complete = data.index(b"\xff\xda")
        assert all(
            read_jpeg_header(data[:length]) in (None, read_jpeg_header(data)) for length in range(0, complete, 7)
        )
    assert read_jpeg_header(encode(Image.fromarray(colors), "PNG")) is None
