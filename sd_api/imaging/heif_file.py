"""HEIC and AVIF: two contents of one kind of container, in whose own properties the orientation is."""

import re

import pillow_heif
from PIL.AvifImagePlugin import AvifImageFile

from sd_api.imaging.sources import Source, pillow_source

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_GAIN_MAP = b"tmap"  # the brand of pictures that have high dynamic range beside an ordinary one
_MOST_BRANDS = 64
_DECODER_BYTES = 8
# Where an AVIF file lists an item of EXIF data. Its orientation does not count, and to unpack it would cost.
_EXIF_ITEM = re.compile(rb"(infe\x02...(?:..|....)..)Exif", re.DOTALL)
# Where a file says that its colours have high dynamic range, PQ or HLG.
_HDR = re.compile(rb"colrnclx..\0(?:\x10|\x12)", re.DOTALL)


def is_avif(data: bytes) -> bool:
    """Whether the file begins as AVIF."""
    return bool(_contents(data) & _AVIF)


def is_heic(data: bytes) -> bool:
    """Whether the file begins as HEIC."""
    return bool(_contents(data) & _HEIC)


def open_avif(data: bytes) -> Source:
    """Open an AVIF file; of an animation, the first frame counts.

    Raises:
        ValueError: it has high dynamic range.
    """
    _refuse_hdr(data)
    return pillow_source(AvifImageFile, _EXIF_ITEM.sub(rb"\1none", data), _DECODER_BYTES)


def open_heic(data: bytes) -> Source:
    """Open an HEIC file; of several pictures, the primary one counts.

    Raises:
        ValueError: it has high dynamic range.
    """
    _refuse_hdr(data)
    return pillow_source(pillow_heif.HeifImageFile, data, _DECODER_BYTES)


def _brands(data: bytes) -> list[bytes]:
    """The brands of a container, the major one first."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    return [data[8:12], *(data[place : place + 4] for place in range(16, end, 4))]


def _contents(data: bytes) -> set[bytes]:
    """The brands that say what is in the file: the major one if it does, else the compatible ones."""
    brands = _brands(data)
    return set(brands[:1]) & (_AVIF | _HEIC) or set(brands) & (_AVIF | _HEIC)


def _refuse_hdr(data: bytes) -> None:
    if _GAIN_MAP not in _brands(data) and _HDR.search(data):
        raise ValueError("it has high dynamic range (PQ or HLG), which 8 bits do not hold; export it as sRGB")
