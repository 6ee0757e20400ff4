import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging.psd_files import psd
from pictures import png
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from sd_api.errors import InvalidField, OutOfLimits, OutOfMemory
from sd_api.generation.images import ImageRef
from sd_api.imaging.decoded import ALWAYS, KEPT_BYTES, DecodedPixels
from sd_api.imaging.decoding import decode_image, decode_mask, read_image, read_mask, read_texts

Bytes = Callable[..., bytes]
FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"]
PIXELS = 10_000


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Four patches of plain colours, which survive lossy formats and palettes."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    image.paste("white", (width // 2, height // 2, width, height))
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours near the corners, clockwise from the top left, rounded to 0 or 255."""
    right, bottom = image.width - 2, image.height - 2
    places = [(1, 1), (right, 1), (right, bottom), (1, bottom)]
    pixels = np.asarray(image.convert("RGB"))
    return [tuple(int(level > 127) * 255 for level in pixels[y, x]) for x, y in places]


RED, LIME, WHITE, BLUE = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 255)


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_read(file_format: str, save: Bytes) -> None:
    text = base64.b64encode(save(picture(), file_format)).decode()
    image = decode_image("init_image", text, max_pixels=PIXELS)
    assert (image.mode, image.size, image.info) == ("RGB", (24, 16), {})
    assert corners(image) == [RED, LIME, WHITE, BLUE]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_mask_is_read_from_every_format(file_format: str, save: Bytes) -> None:
    half = Image.new("L", (24, 16), 0)
    half.paste(255, (12, 0, 24, 16))
    text = base64.b64encode(save(half, file_format)).decode()
    mask = decode_mask("mask_image", text, max_pixels=PIXELS)
    assert (mask.mode, mask.size, mask.info) == ("L", (24, 16), {})
    assert np.abs(np.asarray(mask, int) - np.asarray(half)).max() <= 2


def test_black_and_white_of_a_lossy_mask_are_black_and_white() -> None:
    stripes = Image.new("L", (64, 64), 0)
    stripes.paste(255, (20, 0, 45, 64))
    buffer = io.BytesIO()
    stripes.save(buffer, "JPEG", quality=60)
    lossy = np.asarray(Image.open(buffer))
    assert set(np.unique(lossy)) - {0, 255}
    mask = np.asarray(read_mask("mask_image", buffer.getvalue(), max_pixels=PIXELS))
    assert not mask[:, :16].any()
    assert (mask[:, 24:40] == 255).all()


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(file_format: str, save: Bytes) -> None:
    later = [Image.new("RGB", (24, 16), colour) for colour in ("black", "yellow")]
    data = save(picture(), file_format, save_all=True, append_images=later)
    assert corners(read_image("init_image", data, max_pixels=PIXELS)) == [RED, LIME, WHITE, BLUE]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, [RED, LIME, WHITE, BLUE]),
        (2, [LIME, RED, BLUE, WHITE]),
        (3, [WHITE, BLUE, RED, LIME]),
        (4, [BLUE, WHITE, LIME, RED]),
        (5, [RED, BLUE, WHITE, LIME]),
        (6, [BLUE, RED, LIME, WHITE]),
        (7, [WHITE, LIME, RED, BLUE]),
        (8, [LIME, WHITE, BLUE, RED]),
    ],
)
def test_pictures_are_turned_upright(
    file_format: str, orientation: int, seen: list[tuple[int, ...]], save: Bytes
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image("init_image", save(picture(), file_format, exif=exif), max_pixels=PIXELS)
    assert image.size == ((24, 16) if orientation < 5 else (16, 24))
    assert corners(image) == seen


@pytest.mark.filterwarnings("ignore")  # as in production: Pillow warns about the damage
def test_pictures_are_turned_upright_where_the_rest_of_the_exif_data_is_damaged(save: Bytes) -> None:
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    cut_off = struct.pack("<HHII", 0x010E, 2, 1000, 9999) + b"\x87\x69"
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 3) + orientation + cut_off
    image = read_image("init_image", save(picture(), "JPEG", exif=exif), max_pixels=PIXELS)
    assert corners(image) == [BLUE, RED, LIME, WHITE]


@pytest.mark.parametrize("data", [b"", b"GIF", b"%PDF-1.7", b"\0\0\0\x14ftypmp42", b"RIFF\0\0\0\0WAVE", b"<svg></svg>"])
def test_what_is_no_picture_is_refused_with_the_formats_that_are(data: bytes) -> None:
    with pytest.raises(InvalidField) as refusal:
        read_image("init_image", data, max_pixels=PIXELS)
    assert refusal.value.status == 400
    assert refusal.value.message == (
        "init_image is not a picture that this server can read; send PNG, JPEG, WEBP, TIFF, BMP, GIF, AVIF, HEIC or PSD"
    )


def test_as_many_pixels_as_the_limit_allows_are_read(save: Bytes) -> None:
    data = save(picture(20, 10))
    assert read_image("init_image", data, max_pixels=200).size == (20, 10)
    with pytest.raises(OutOfLimits) as refusal:
        read_image("init_image", data, max_pixels=199)
    assert refusal.value.status == 422
    assert refusal.value.message == "init_image has 20 x 10 pixels, 200 in all; at most 199 are allowed"


@pytest.mark.parametrize("side", [200, 10_000, 14_000, 2**31 - 1])  # below, at and above Pillow's own limits
def test_the_limit_is_checked_before_pixels_are_decoded(side: int, png: Bytes) -> None:
    with pytest.raises(OutOfLimits, match=f"^mask_image has {side} x {side} pixels"):
        read_mask("mask_image", png((side, side), b""), max_pixels=PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,"
        b"\0\0\0\0" + struct.pack("<HH", 65535, 65535) + b"\0\x08\0;",
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0" + struct.pack("<HH", 65535, 65535) + b"\0\x08\0;",
        b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 60000, 60000, 1, 24) + b"\0" * 24,
    ],
)
def test_absurd_sizes_are_refused_in_every_format(data: bytes) -> None:
    with pytest.raises(OutOfLimits, match=r"^init_image has .*allowed"):
        read_image("init_image", data, max_pixels=PIXELS)


@pytest.mark.parametrize("length", [6, 10])
def test_of_a_file_that_ends_within_its_header_nothing_but_that_is_said(length: int) -> None:
    with pytest.raises(InvalidField, match=r"^init_image is a GIF file that cannot be read: it is damaged or cut off$"):
        read_image("init_image", b"GIF89a\1\0\1\0\0\0\0"[:length], max_pixels=PIXELS)


def test_an_absurd_size_is_refused_in_webp() -> None:
    data = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2
    # Pillow 12 hands the header to its decoder at once, which refuses it as a damaged file.
    with pytest.raises(InvalidField, match=r"^init_image (has .*allowed|is a WEBP file that cannot be read)"):
        read_image("init_image", data, max_pixels=PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0+\0\x08\0\0" + b"\xff" * 8,
        b"BM",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8 ",
    ],
)
def test_files_that_are_nothing_but_a_start_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidField, match=r"^init_image is a \w+ file that cannot be read: .") as refusal:
        read_image("init_image", data, max_pixels=PIXELS)
    assert refusal.value.status == 400


BOMB = zlib.compress(bytes(30_000_000))


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        ((0, 0), []),
        ((0, 5), []),
        ((4, 4), [(b"tRNS", b"\0")]),
    ],
)
def test_hostile_pngs_are_refused(size: tuple[int, int], chunks: list[tuple[bytes, bytes]], png: Bytes) -> None:
    rows = bytes(4 * (1 + 3 * 4))
    assert rgb_size(png((4, 4), rows)) == (4, 4)
    with pytest.raises(InvalidField, match=r"^init_image is a PNG file that cannot be read: ."):
        rgb_size(png(size, rows, *chunks))


def rgb_size(data: bytes) -> tuple[int, int]:
    return read_image("init_image", data, max_pixels=PIXELS).size


def deep_tiff(**options: Any) -> bytes:
    """A file of 16-bit planes, which Pillow cannot read."""
    file = io.BytesIO()
    values = np.moveaxis(np.asarray(picture(8, 6)), -1, 0).astype(np.uint16) * 257
    tifffile.imwrite(file, values, photometric="rgb", planarconfig="separate", metadata=None, **options)
    return file.getvalue()


@pytest.fixture(scope="module", params=[*FORMATS, "PSD", "PSB", "16 bits", "LZW", "JPEG in TIFF", "progressive JPEG"])
def sample(request: pytest.FixtureRequest, save: Bytes) -> bytes:
    """A small file of each format, with as many optional parts as it has."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "described"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    planes = np.moveaxis(np.asarray(picture(8, 6).convert("RGBA")), -1, 0)
    resources = {1039: profile, 1057: struct.pack(">IB", 1, 1)}
    others: dict[str, Callable[[], bytes]] = {
        "PSD": lambda: psd("rgb", planes, layers=-1, resources=resources, blocks={b"Patt": bytes(5)}),
        "PSB": lambda: psd("rgb", planes.astype(int) * 257, depth=16, version=2, compression=3, blocks={b"Mt16": b""}),
        "16 bits": lambda: deep_tiff(),
        "LZW": lambda: deep_tiff(compression="lzw", predictor=True, tile=(16, 16), bigtiff=True, byteorder=">"),
        "JPEG in TIFF": lambda: save(picture(8, 6), "TIFF", compression="jpeg"),
        "progressive JPEG": lambda: save(picture(8, 6), "JPEG", progressive=True, comment="a comment"),
    }
    if request.param in others:
        return others[request.param]()
    return save(picture(8, 6), request.param, exif=exif.tobytes(), icc_profile=profile)


def read_or_refuse(data: bytes) -> bool:
    """Whether the file could be read, as both picture and mask."""
    try:
        assert read_image("f", data, max_pixels=PIXELS).mode == "RGB"
        assert read_mask("f", data, max_pixels=PIXELS).mode == "L"
    except InvalidField:
        return False
    return True


def test_a_file_cut_off_anywhere_is_read_or_refused(sample: bytes) -> None:
    assert read_or_refuse(sample)
    assert not read_or_refuse(sample[: len(sample) // 4])
    for end in range(len(sample)):
        read_or_refuse(sample[:end])


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_file_with_changed_bytes_is_read_or_refused(sample: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(sample)
    for place, value in changes:
        changed[place % len(changed)] = value
    read_or_refuse(bytes(changed))


def test_all_decoded_images_together_are_limited() -> None:
    decoded = DecodedPixels()

    def hold(pixels: int) -> Image.Image:
        return decoded.decode(object(), pixels, 10, picture)

    alone = hold(2 * ALWAYS)
    with pytest.raises(OutOfMemory):
        hold(1)
    del alone
    held = [hold(ALWAYS // 2), hold(ALWAYS // 2)]
    with pytest.raises(OutOfMemory):
        hold(1)
    held.pop()

    def broken() -> Image.Image:
        raise SyntaxError("broken PNG file")

    with pytest.raises(SyntaxError):
        decoded.decode("broken", ALWAYS // 2, 10, broken)
    hold(ALWAYS // 2)


def test_deep_samples_count_while_they_are_unpacked() -> None:
    decoded = DecodedPixels()
    held = decoded.decode(object(), ALWAYS // 2, 10, picture)
    with pytest.raises(OutOfMemory):
        decoded.decode(object(), ALWAYS // 4, 10, picture, 4 * ALWAYS)
    deep = decoded.decode(object(), ALWAYS // 4, 10, picture, 2 * ALWAYS)
    with decoded.room(ALWAYS // 4, 10), pytest.raises(OutOfMemory):
        decoded.decode(object(), 1, 10, picture)
    del held, deep
    decoded.decode(object(), ALWAYS, 10, picture)


def test_what_is_read_again_is_never_refused_and_counts_while_it_is_held() -> None:
    decoded = DecodedPixels()
    samples = decoded.count(lambda: np.zeros((8, 8, 4), np.uint16), 4 * ALWAYS)
    assert samples is not None
    # Its 8 x 8 pixels of 8 bytes are what is left.
    with pytest.raises(OutOfMemory):
        decoded.decode(object(), ALWAYS - 127, 10, picture)
    assert decoded.count(lambda: None, 8 * ALWAYS) is None
    first = decoded.decode(object(), ALWAYS - 128, 10, picture)
    del samples, first
    with pytest.raises(ZeroDivisionError):
        decoded.count(lambda: np.zeros(1 // 0), ALWAYS)
    decoded.decode(object(), ALWAYS, 10, picture)


@pytest.mark.parametrize("size", [(1, 300_001), (300_001, 1)])
def test_a_side_that_no_picture_has_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(OutOfLimits, match="300,000 are allowed on one side"):
        read_image("image", data, max_pixels=10**9)


@pytest.mark.parametrize("packed", [b"zTXt", b"iTXt"])
def test_texts_that_are_packed_are_bounded_before_they_are_unpacked(packed: bytes) -> None:
    def with_texts(*lengths: int, **named: int) -> bytes:
        whole = png(Image.new("RGB", (2, 2)))
        middle = b"\0" if packed == b"zTXt" else b"\1\0\0\0"
        for key, length in (*((f"key{number}", length) for number, length in enumerate(lengths)), *named.items()):
            body = key.encode() + b"\0" + middle + zlib.compress(bytes([65]) * length)
            chunk = packed + body
            added = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            whole = whole[:33] + added + whole[33:]
        return whole

    def read(*lengths: int, **named: int) -> dict[str, int]:
        return {key: len(text) for key, text in read_texts("image", with_texts(*lengths, **named)).items()}

    assert read(500_000, 500_000) == {"key0": 500_000, "key1": 500_000}
    # What is too long, such as a workflow, does not hide what a picture was made with.
    assert read(2_000_000, 1000, 2_000_000, parameters=900_000) == {"key1": 1000, "parameters": 900_000}
    assert read(1000, parameters=2_000_000) == {}
    # Where they are not asked for, they do not matter.
    assert read_image("image", with_texts(3_000_000), max_pixels=4).size == (2, 2)


def test_texts_are_read_beside_xmp_data_of_any_size() -> None:
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<history/>" * 200_000)
    texts.add_text("parameters", "a dog")
    content = io.BytesIO()
    Image.new("RGB", (2, 2)).save(content, "PNG", pnginfo=texts)
    assert read_texts("image", content.getvalue()) == {"parameters": "a dog"}


def test_the_latest_images_stay_decoded() -> None:
    decoded, side = DecodedPixels(), 4096

    def read(key: str) -> Image.Image:
        found = decoded.find(key, side**2)
        return found or decoded.decode(key, side**2, side**2, lambda: Image.new("RGB", (side, side)))

    first = read("first")
    assert read("first") is first
    assert decoded.find("first", side**2 - 1) is None
    for number in range(KEPT_BYTES // side**2 // 4):
        read(str(number))
    assert decoded.find("first", side**2) is None
    # They make room for others.
    del first
    decoded.decode("large", ALWAYS, 10, picture)


def test_a_large_image_is_decoded_again_after_its_memory_was_wanted() -> None:
    sizes = (3000, 3000), (9, 9)
    large, small = (ImageRef(png(Image.new("RGB", size, "teal")), "image", "image", 10**7) for size in sizes)
    kept = large.pixels, small.pixels
    for image in (large, small):
        image.let_go()
    assert large.memory == len(large.content)
    assert large.size == (3000, 3000)
    assert large.memory == len(large.content)
    assert large.pixels is not kept[0]
    assert large.pixels.getpixel((2999, 0)) == kept[0].getpixel((2999, 0))
    assert small.pixels is kept[1]
