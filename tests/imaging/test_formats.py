"""What single formats bring with them: PNG's chunks, JPEG's scans, BMP's alpha, the containers of HEIC and AVIF."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.imaging.decoding import media_type_of, read_image, read_mask

Bytes = Callable[..., bytes]
RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]


def image_of(data: bytes) -> Image.Image:
    image = read_image("init_image", data, max_pixels=100_000)
    assert image.mode == "RGB"
    return image


def rgb(data: bytes) -> list[list[int]]:
    pixels: list[list[int]] = np.asarray(image_of(data)).reshape(-1, 3).tolist()
    return pixels


def mask(data: bytes) -> list[int]:
    levels: list[int] = np.asarray(read_mask("mask_image", data, max_pixels=100_000)).reshape(-1).tolist()
    return levels


def halves(size: int = 32) -> Image.Image:
    """Red at the left, blue at the right."""
    image = Image.new("RGB", (size, size), "red")
    image.paste("blue", (size // 2, 0, size, size))
    return image


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidField) as refused:
        rgb(data)
    assert refused.value.message.startswith("init_image is a")
    return refused.value.message


# --- PNG ------------------------------------------------------------------------------------------

LONG = b"A parameter. " * 200_000
BOMB = zlib.compress(bytes(30_000_000))
ORIENTATION = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 3, 0) + bytes(4)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"parameters\0" + LONG),
        (b"zTXt", b"parameters\0\0" + zlib.compress(LONG)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LONG),
        (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LONG)),
        (b"zTXt", b"bomb\0\0" + BOMB),
        (b"iTXt", b"bomb\0\1\0\0\0" + BOMB),
        (b"iCCP", b"bomb\0\0" + BOMB),
        (b"iCCP", b"damaged\0\0" + BOMB[:40]),
        (b"eXIf", b"II*\0\x08\0\0\0" + LONG),
        (b"prVt", LONG),
        (b"acTL", b"\0\0"),
    ],
)
def test_what_says_nothing_of_the_pixels_is_ignored(chunk: tuple[bytes, bytes], png: Bytes) -> None:
    data = png((2, 1), b"\0" + bytes(RED + BLUE), *[chunk] * 4)
    began = time.perf_counter()
    image = image_of(data)
    assert time.perf_counter() - began < 1
    assert image.info == {}
    assert np.asarray(image).tolist() == [[RED, BLUE]]


def test_text_after_the_pixels_is_ignored_too(png: Bytes) -> None:
    data = png((2, 1), b"\0" + bytes(RED + BLUE))
    end = len(data) - 12
    body = b"bomb\0\0" + BOMB
    text = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    assert rgb(data[:end] + text + data[end:]) == [RED, BLUE]


def test_a_profile_and_the_orientation_still_count(png: Bytes) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = profile + bytes(2_000_000)  # as long as those of printers are
    for kept in (profile, large):
        chunks = [(b"iCCP", b"name\0\0" + zlib.compress(kept)), (b"eXIf", ORIENTATION), (b"tEXt", b"a\0" + LONG)]
        image = image_of(png((2, 1), b"\0" + bytes(RED + BLUE), *chunks))
        assert image.info == {"icc_profile": kept}
        assert np.asarray(image).tolist() == [[BLUE, RED]]


def test_a_million_chunks_are_refused(png: Bytes) -> None:
    data = png((2, 1), b"\0" + bytes(RED + BLUE), *[(b"IDAT", b"")] * 70_000)
    assert "more than 65,536 chunks" in refusal(data)


def test_only_the_first_profile_is_unpacked(png: Bytes) -> None:
    data = png((2, 1), b"\0" + bytes(RED + BLUE), *[(b"iCCP", b"bomb\0\0" + BOMB)] * 500)
    began = time.perf_counter()
    assert rgb(data) == [RED, BLUE]
    assert time.perf_counter() - began < 1


# --- JPEG -----------------------------------------------------------------------------------------


def with_scans(data: bytes, scans: int) -> bytes:
    """The progressive JPEG with so many more scans, each of which refines nothing."""
    table = data[data.index(b"\xff\xc4") :][: 2 + int.from_bytes(data[data.index(b"\xff\xc4") + 2 :][:2], "big")]
    scan = b"\xff\xda\0\x08\1\1\0\1\1\0\x7f\xff"  # nothing but end-of-band runs, cut short by the next marker
    return data[:-2] + table + scan * scans + b"\xff\xd9"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "progressive": True}])
def test_scans_as_encoders_write_them_are_read(options: dict[str, object], save: Bytes) -> None:
    pixels = np.asarray(image_of(save(halves(), "JPEG", quality=95, **options))).astype(int)
    assert np.abs(pixels[4, 4] - RED).max() <= 4
    assert np.abs(pixels[4, 28] - BLUE).max() <= 4


def test_a_thousand_scans_are_refused(save: Bytes) -> None:
    data = with_scans(save(Image.new("RGB", (256, 256), "red"), "JPEG", progressive=True), 1000)
    began = time.perf_counter()
    assert "it has more than 100 scans" in refusal(data)
    assert time.perf_counter() - began < 0.2


def test_pictures_inside_of_segments_are_no_scans(save: Bytes) -> None:
    data = save(halves(), "JPEG", quality=95)
    thumbnail = b"\xff\xda\0\x08" * 1000
    for marker, start in [(0xE1, b"Exif\0\0"), (0xE2, b"MPF\0"), (0xED, b"Photoshop 3.0\0"), (0xFE, b"")]:
        body = start + thumbnail
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        assert np.abs(np.asarray(image_of(data[:2] + segment * 3 + data[2:])).astype(int)[4, 4] - RED).max() <= 4
    assert rgb(data + with_scans(save(halves(), "JPEG"), 200)) == rgb(data)  # another picture after the first


def test_a_million_segments_are_refused_and_padding_is_not(save: Bytes) -> None:
    data = save(halves(), "JPEG", quality=95)
    assert "2,000 segments" in refusal(data[:2] + b"\xff\xdb\0\2" * 1_000_000 + data[2:])
    padding = b"\xff" * 1_000_000
    began = time.perf_counter()
    assert rgb(data[:2] + padding + data[2:20] + padding + data[20:-2] + padding + data[-2:]) == rgb(data)
    assert rgb(data[:-2] + padding + b"\0" + data[-2:])
    assert time.perf_counter() - began < 1


def test_a_profile_in_several_segments_is_kept(save: Bytes) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(100_000)
    assert image_of(save(halves(), "JPEG", icc_profile=profile)).info == {"icc_profile": profile}


@pytest.mark.filterwarnings("ignore")  # as in production: Pillow warns about the damage
def test_exif_data_of_many_segments_costs_nothing(save: Bytes) -> None:
    # A resolution of millions of fractions.
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x011A, 5, 2_000_000, 26) + bytes(4)
    body = head + struct.pack("<II", 72, 1) * 2_000_000
    pieces = [body[:60_000], *(b"Exif\0\0" + body[i : i + 60_000] for i in range(60_000, len(body), 60_000))]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)
    data = save(halves(), "JPEG", quality=95)
    began = time.perf_counter()
    assert image_of(data[:2] + segments + data[2:]).size == (32, 32)
    assert time.perf_counter() - began < 1


# --- BMP ------------------------------------------------------------------------------------------

MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(*pixels: tuple[int, int, int, int], header: int = 40, compression: int = 0, masks: bool = True) -> bytes:
    """A row of pixels (red, green, blue, alpha) in a file of 32 bits; the header is 40, 56, 108 or 124 bytes long."""
    body = b"".join(bytes([blue, green, red, alpha]) for red, green, blue, alpha in pixels)
    info = struct.pack("<IiiHHIIiiII", header, len(pixels), 1, 1, 32, compression, len(body), 0, 0, 0, 0)
    if header > 40:
        info += struct.pack("<4I", *MASKS) if masks else bytes(16)
        info += bytes(header - len(info))
    elif compression == 3:
        info += struct.pack("<3I", *MASKS[:3])
    offset = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + body


@pytest.mark.parametrize(
    ("header", "compression", "masks"),
    [
        (40, 0, True),
        (40, 3, True),
        (56, 3, True),
        (108, 0, True),
        (108, 3, True),
        (124, 0, True),
        (124, 3, True),
        (124, 3, False),
    ],
)
def test_alpha_that_is_zero_everywhere_is_none(header: int, compression: int, masks: bool) -> None:
    file = partial(bmp, header=header, compression=compression, masks=masks)
    assert rgb(file((255, 0, 0, 0), (0, 0, 255, 0))) == [RED, BLUE]
    assert mask(file((255, 255, 255, 0), (0, 0, 0, 0))) == [255, 0]


@pytest.mark.parametrize("header", [56, 108, 124])
def test_alpha_that_is_there_counts(header: int) -> None:
    data = bmp((255, 0, 0, 255), (0, 0, 255, 0), header=header, compression=3)
    assert rgb(data) == [RED, WHITE]
    assert mask(data) == [255, 0]


def test_in_other_formats_what_is_transparent_everywhere_is_so(save: Bytes) -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    for file_format in ("PNG", "TIFF"):
        assert rgb(save(clear, file_format)) == [WHITE, WHITE]
        assert mask(save(clear, file_format)) == [0, 0]


# --- HEIC and AVIF --------------------------------------------------------------------------------


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 100, "chroma": 444, **options})
    return file.getvalue()


def avif(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", **{"quality": 100, "subsampling": "4:4:4", **options})
    return file.getvalue()


WRITERS = pytest.mark.parametrize(("write", "kind"), [(heic, "image/heic"), (avif, "image/avif")])
Writer = Callable[..., bytes]


@WRITERS
def test_containers_have_their_media_types(write: Writer, kind: str) -> None:
    data = write(halves())
    assert media_type_of(data) == kind
    # A general major brand, as some programs write it; what is compatible says what it is.
    assert media_type_of(data[:8] + b"mif1" + data[12:]) == kind
    assert media_type_of(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + data) is None


@WRITERS
def test_a_container_that_is_cut_off_is_refused_in_one_line(write: Writer, kind: str) -> None:
    data = write(halves())
    with pytest.raises(InvalidField, match=r"^init_image is a (HEIC|AVIF) file that cannot be read: .*\S\Z"):
        image_of(data[: len(data) // 2])


@WRITERS
def test_the_pixels_of_containers(write: Writer, kind: str) -> None:
    for size in (32, 31):
        pixels = np.asarray(image_of(write(halves(size)))).astype(int)
        assert pixels.shape == (size, size, 3)
        assert np.abs(pixels[4, 4] - RED).max() <= 6
        assert np.abs(pixels[4, 28] - BLUE).max() <= 6
    grey = np.asarray(image_of(write(Image.new("L", (16, 16), 100))))
    assert np.abs(grey.astype(int) - 100).max() <= 2


@WRITERS
def test_the_transparency_of_containers(write: Writer, kind: str) -> None:
    image = halves().convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 16, 32, 32))
    data = write(image)
    pixels = np.asarray(image_of(data)).astype(int)
    assert np.abs(pixels[4, 4] - RED).max() <= 6
    assert (pixels[20:, 4] >= 252).all()
    levels = np.asarray(read_mask("mask_image", data, max_pixels=10_000))
    assert (levels[4] == 255).all()
    assert not levels[24].any()


@WRITERS
def test_containers_are_turned_once(write: Writer, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.asarray(image_of(write(halves(), exif=exif.tobytes()))).astype(int)
    assert np.abs(pixels[4, 16] - RED).max() <= 6
    assert np.abs(pixels[4, 4] - RED).max() <= 6
    assert np.abs(pixels[28, 4] - BLUE).max() <= 6


@WRITERS
def test_the_profile_of_a_container_is_kept(write: Writer, kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = halves()
    image.info["icc_profile"] = profile
    assert image_of(write(image)).info == {"icc_profile": profile}


@WRITERS
def test_black_and_white_of_a_lossy_mask_are_black_and_white(write: Writer, kind: str) -> None:
    stripes = Image.new("L", (64, 64), 0)
    stripes.paste(255, (20, 0, 45, 64))
    levels = np.asarray(read_mask("mask_image", write(stripes, quality=60), max_pixels=10_000))
    assert not levels[:, :16].any()
    assert (levels[:, 24:40] == 255).all()


@WRITERS
def test_pixels_of_containers_are_counted_before_they_are_decoded(write: Writer, kind: str) -> None:
    data = write(halves(64))
    with pytest.raises(OutOfLimits, match="64 x 64 pixels"):
        read_image("init_image", data, max_pixels=64 * 64 - 1)
    place = data.index(b"ispe") + 8
    with pytest.raises(InvalidField):  # of which OutOfLimits is one kind
        rgb(data[:place] + struct.pack(">II", 30_000, 30_000) + data[place + 8 :])


def test_a_heic_file_that_tells_another_size_than_it_has_is_refused() -> None:
    data = heic(halves(64))
    place = data.index(b"ispe") + 8
    assert "size" in refusal(data[:place] + struct.pack(">II", 8, 8) + data[place + 8 :])


def test_exif_data_of_an_avif_file_does_not_count() -> None:
    # A description, which turns into a resolution of a million fractions and an orientation.
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 270, 2, 8_000_000, 26) + bytes(4)
    data = avif(halves(), exif=exif + struct.pack("<II", 72, 1) * 1_000_000)
    data = data.replace(struct.pack("<HHI", 270, 2, 8_000_000), struct.pack("<HHI", 274, 5, 1_000_000))
    assert len(data) > 8_000_000
    began = time.perf_counter()
    assert image_of(data).size == (32, 32)
    assert time.perf_counter() - began < 1


@WRITERS
@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_by_name(transfer: int, write: Writer, kind: str) -> None:
    data = write(halves())
    place = data.index(b"colrnclx") + 8
    hdr = data[:place] + struct.pack(">3H", 9, transfer, 9) + data[place + 6 :]
    assert "high dynamic range (PQ or HLG)" in refusal(hdr)
    if write is heic:  # with a gain map, it is an ordinary picture that has more beside it
        end = int.from_bytes(hdr[:4], "big")  # of the brands
        assert image_of(hdr[: end - 4] + b"tmap" + hdr[end:]).size == (32, 32)


def test_of_many_pictures_in_a_container_the_first_counts(save: Bytes) -> None:
    data = save(halves(), "AVIF", save_all=True, append_images=[Image.new("RGB", (32, 32), "lime")] * 3, quality=100)
    assert np.abs(np.asarray(image_of(data)).astype(int)[4, 4] - RED).max() <= 8
    file = pillow_heif.from_pillow(halves())
    file.add_from_pillow(Image.new("RGB", (32, 32), "lime"))
    several = io.BytesIO()
    file.save(several, quality=100)
    assert np.abs(np.asarray(image_of(several.getvalue())).astype(int)[4, 4] - RED).max() <= 8
