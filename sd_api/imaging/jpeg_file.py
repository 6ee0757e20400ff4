"""JPEG files, read without the segments that say nothing of the pixels; their scans are counted before."""

import re
from collections.abc import Iterator

from PIL.JpegImagePlugin import JpegImageFile

from sd_api.imaging.sources import Source, pillow_source

# Encoders write ten scans or so; each one costs a pass over the whole picture, however few bytes it has.
_MOST_SCANS = 100
_MOST_SEGMENTS = 2000  # a profile takes 255 of them, at most
# In the data of a scan, 0xFF is followed by 0 or is a restart marker.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_START_OF_SCAN, _END_OF_IMAGE, _EXIF = 0xDA, 0xD9, 0xE1
_OPTIONAL = {*range(0xE0, 0xF0), 0xFE}  # what applications add, and comments
# Those of them that are read, and how their bodies begin.
_READ = {0xE0: b"JFIF\0", _EXIF: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}


def open_jpeg(data: bytes) -> Source:
    """Open a JPEG file; comments, and EXIF data beyond one segment (64 KiB), are ignored.

    Raises:
        ValueError: it has more than 100 scans, or more segments than any encoder writes.
    """
    kept, copied, before, scans, exif = [], 0, 2, 0, False
    for number, (code, start, end) in enumerate(_segments(data)):
        if not scans and start > before:  # padding
            kept.append(data[copied:before])
            copied = start
        scans += code == _START_OF_SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"it has more than {_MOST_SCANS} scans; save it again as a baseline JPEG")
        if number > _MOST_SEGMENTS:
            raise ValueError(f"it has more than {_MOST_SEGMENTS:,} segments; save it again")
        body = data[start + 4 : end]
        is_read = code in _READ and body.startswith(_READ[code]) and not (code == _EXIF and exif)
        exif = exif or (code == _EXIF and is_read)
        if code in _OPTIONAL and not is_read:
            kept.append(data[copied:start])
            copied = end
        before = end
    return pillow_source(JpegImageFile, b"".join([*kept, data[copied:]]))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker's code, the start and the end of each segment of the first image, pictures inside of them apart."""
    place = 2
    while (marker := _MARKER.search(data, place)) and marker[1][0] != _END_OF_IMAGE:
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        yield marker[1][0], marker.start(), place
