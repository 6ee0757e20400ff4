"""PNG files, read without the chunks that say nothing of the pixels."""

import io
import struct
import zlib
from collections.abc import Iterator

import imagecodecs
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from sd_api.imaging.samples import SIXTEEN_BITS, Array, samples_of
from sd_api.imaging.sources import (
    LARGEST_EXIF,
    LARGEST_PROFILE,
    Source,
    orientation_of,
    pillow_source,
    upright_samples,
)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH = 24  # where the header has the bits of a sample
_MOST_CHUNKS = 1 << 16
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
# A text in name only: photo editors keep the whole history of a picture in it, megabytes at times.
_XMP = b"XML:com.adobe.xmp\0"
# How a picture was made, as programs for them write it.
_PARAMETERS = b"parameters\0"
# Bytes of all texts of a file, unpacked; those of programs that keep a whole workflow have some 100 kB.
_MOST_TEXT = 1 << 20
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def open_png(data: bytes) -> Source:
    """Open a PNG file; of an animation, the default image counts.

    Text of any size is ignored, and so is an ICC profile of more than 4 MiB, or EXIF data of more than 512 KiB.
    """
    view = memoryview(data)
    kept, profile = [view[: len(_SIGNATURE)]], None
    for number, (name, start, end) in enumerate(_chunks(data)):
        if number == _MOST_CHUNKS:
            raise ValueError(f"it has more than {_MOST_CHUNKS:,} chunks")
        if name == b"iCCP":
            profile = _profile(data[start + 8 : end - 4]) if profile is None else profile
        elif name in _PIXELS or (name == b"eXIf" and end - start <= LARGEST_EXIF):
            kept.append(view[start:end])
    # Without a copy of a large file that has nothing else.
    bare = data if sum(map(len, kept)) == len(data) else b"".join(kept)
    source = pillow_source(PngImageFile, bare)

    def load() -> Image.Image:
        image = source.load()
        if profile:
            image.info["icc_profile"] = profile
        return image

    # Grey with a profile of its own becomes sRGB, in 8 bits.
    is_deep = bare[_DEPTH] == 16 and (profile or b"")[16:20] != b"GRAY"
    load_deep = (lambda: _deep(bare)) if is_deep else None
    decoder_bytes = 16 if bare[_DEPTH] == 16 else 4
    return Source(source.size, load, load_deep, source.may_be_transparent, decoder_bytes=decoder_bytes)


def _deep(data: bytes) -> Array:
    """The samples of a file of 16 bits; see ``Source.load_deep``."""
    values = imagecodecs.png_decode(data)
    values = values[..., None] if values.ndim == 2 else values
    bands = 1 if values.shape[-1] < 3 else 3
    alpha = values[..., bands] if values.shape[-1] > bands else None
    # Without a copy where they are right already.
    right = alpha is not None and values.shape[-1] == 4 and alpha.min() < SIXTEEN_BITS
    samples = values if right else samples_of(values[..., :bands], alpha)
    with PngImageFile(io.BytesIO(data)) as image:
        return upright_samples(samples, orientation_of(image))


def read_texts(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG file that stand before its pixels, by their keywords; XMP data is not among them.

    They have 1 MiB at most, unpacked: ``parameters`` comes first, then what is shortest in the file, and what does not
    fit any more is left out.

    Raises:
        ValueError: the file has too many chunks.
    """
    texts, others = [], []
    for number, chunk in enumerate(_chunks(data)):
        if number == _MOST_CHUNKS:
            raise ValueError(f"it has more than {_MOST_CHUNKS:,} chunks")
        name, start, _ = chunk
        if name in _TEXTS and not data.startswith(_XMP, start + 8):
            texts.append(chunk)
        elif name in (b"IHDR", b"IDAT"):
            others.append(chunk)
        if name == b"IDAT":
            break
    texts.sort(key=lambda chunk: (not data.startswith(_PARAMETERS, chunk[1] + 8), chunk[2] - chunk[1]))
    fitting, left = [], _MOST_TEXT
    for name, start, end in texts:
        left -= _text_length(name, data[start + 8 : end - 4])
        if left < 0:
            break
        fitting.append((name, start, end))
    kept = [data[start:end] for _, start, end in sorted(fitting + others, key=lambda chunk: chunk[1])]
    with PngImageFile(io.BytesIO(_SIGNATURE + b"".join(kept))) as image:
        return {str(key): value for key, value in image.info.items() if isinstance(value, str)}


def _text_length(name: bytes, body: bytes) -> int:
    """The bytes of a text chunk once it is unpacked; more than are allowed are not counted to their end."""
    # A keyword; then, of zTXt, the method, and of iTXt whether it is packed, the method, and two texts more.
    _, _, rest = body.partition(b"\0")
    if name == b"zTXt":
        packed = rest[1:]
    elif name == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST_TEXT + 1))
    except zlib.error:
        # It is no text, then.
        return len(body)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name, the start and the end of each chunk, up to the end of the picture or of the file."""
    start, name = len(_SIGNATURE), b""
    while start + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length  # the length, the name, the body and a checksum
        yield name, start, end
        start = end


def _profile(body: bytes) -> bytes:
    """The ICC profile of an ``iCCP`` chunk; empty if it is damaged or too large."""
    decoder = zlib.decompressobj()
    try:
        profile = decoder.decompress(body.partition(b"\0")[2][1:], LARGEST_PROFILE)
    except zlib.error:
        return b""
    return profile if decoder.eof else b""
