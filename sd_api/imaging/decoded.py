"""The pixels that are decoded in this process, all together: requests that wait cannot fill the memory with them."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from PIL import Image

from sd_api.errors import ImagesHeld
from sd_api.imaging.samples import Array

# So many of the largest images are in memory at a time, or more of smaller ones.
LARGEST_IMAGES = 4

# Pixels that are always allowed: 128 images of 1024 x 1024.
ALWAYS = 128 * 1024 * 1024

# Bytes of images that stay decoded, so that the next edit of a document need not decode it again: one of 48 megapixels
# and its mask.
KEPT_BYTES = 256 * 1024 * 1024


# Pillow has so many for a pixel that is not grey.
BYTES_OF_PIXEL = 4

# Bytes of an image that is decoded so soon that its memory is worth more, where that is needed.
SMALL_BYTES = 32 * 1024 * 1024

Samples = Image.Image | Array | None
"""What a file holds beside an image of 8 bits; None where that is nothing."""


class DecodedPixels:
    """Counts the pixels of images from their decoding until nothing refers to them any more, and keeps the latest."""

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may give back pixels in the thread that takes some.
        self._lock = threading.RLock()
        self._held = 0
        self._kept: OrderedDict[Hashable, Image.Image] = OrderedDict()

    def find(self, key: Hashable, max_pixels: int) -> Image.Image | None:
        """The image that was decoded with a key, if it is kept and has no more than so many pixels."""
        with self._lock:
            image = self._kept.get(key)
            if image is None or image.width * image.height > max_pixels:
                return None
            self._kept.move_to_end(key)
            return image

    def decode(
        self, key: Hashable, pixels: int, max_pixels: int, read: Callable[[], Image.Image], unpacked: int = 0
    ) -> Image.Image:
        """Decode an image while there is memory for it.

        Args:
            key: What finds it again while it is kept.
            pixels: Width times height.
            max_pixels: Those of the largest image.
            read: Decodes it.
            unpacked: Bytes of its samples meanwhile, where a pixel has more of them than an image here.

        Raises:
            ImagesHeld: The images of other requests are in memory.
        """
        taken = max(pixels, unpacked // BYTES_OF_PIXEL)
        self._take(taken, max_pixels)
        try:
            image = read()
        except BaseException:
            self._give(taken)
            raise
        self._give(taken - pixels)
        weakref.finalize(image, self._give, pixels)
        self._keep(key, image)
        return image

    def count(self, read: Callable[[], Samples], unpacked: int) -> Samples:
        """Decode what is needed whatever others hold, and count it until nothing refers to it any more.

        Args:
            read: Decodes it.
            unpacked: Bytes that this takes at its peak.
        """
        with self._lock:
            self._held += (taken := unpacked // BYTES_OF_PIXEL)
        held = 0
        try:
            samples = read()
            if samples is not None:
                held = _size(samples) // BYTES_OF_PIXEL
                weakref.finalize(samples, self._give, held)
        finally:
            self._give(taken - held)
        return samples

    @contextmanager
    def room(self, pixels: int, max_pixels: int) -> Iterator[None]:
        """Count the pixels of images that are made and given up meanwhile.

        Raises:
            ImagesHeld: The images of other requests are in memory.
        """
        self._take(pixels, max_pixels)
        try:
            yield
        finally:
            self._give(pixels)

    def _take(self, pixels: int, max_pixels: int) -> None:
        most = max(LARGEST_IMAGES * max_pixels, ALWAYS)
        with self._lock:
            while self._kept and self._held + pixels > most:
                self._kept.popitem(last=False)
            # An image alone is never refused here.
            if self._held and self._held + pixels > most:
                raise ImagesHeld("The images of other requests fill the memory for images. Try again when one is done.")
            self._held += pixels

    def _keep(self, key: Hashable, image: Image.Image) -> None:
        if _bytes(image) > KEPT_BYTES:
            return
        with self._lock:
            self._kept[key] = image
            while sum(map(_bytes, self._kept.values())) > KEPT_BYTES:
                self._kept.popitem(last=False)

    def let_go(self, image: Image.Image, *, small: bool = False) -> bool:
        """Keep an image no longer, unless it is small and ``small`` is false; whether it was let go."""
        if not small and _bytes(image) <= SMALL_BYTES:
            return False
        with self._lock:
            for key in [key for key, kept in self._kept.items() if kept is image]:
                del self._kept[key]
        return True

    def _give(self, pixels: int) -> None:
        with self._lock:
            self._held -= pixels


def _size(samples: Image.Image | Array) -> int:
    return _bytes(samples) if isinstance(samples, Image.Image) else samples.nbytes


def _bytes(image: Image.Image) -> int:
    return image.width * image.height * (1 if image.mode == "L" else BYTES_OF_PIXEL)
