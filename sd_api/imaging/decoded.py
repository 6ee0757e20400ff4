"""The pixels that are decoded in this process, all together: requests that wait cannot fill the memory with them."""

import threading
import weakref
from collections.abc import Callable

from PIL import Image

from sd_api.errors import OutOfMemory

# So many of the largest images are in memory at a time, or more of smaller ones.
LARGEST_IMAGES = 4

# Pixels that are always allowed: 128 images of 1024 x 1024.
ALWAYS = 128 * 1024 * 1024


class DecodedPixels:
    """Counts the pixels of images from their decoding until nothing refers to them any more."""

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may give back pixels in the thread that takes some.
        self._lock = threading.RLock()
        self._held = 0

    def decode(self, pixels: int, max_pixels: int, read: Callable[[], Image.Image]) -> Image.Image:
        """Decode an image while there is memory for it.

        Args:
            pixels: Width times height.
            max_pixels: Those of the largest image.
            read: Decodes it.

        Raises:
            OutOfMemory: The images of other requests are in memory.
        """
        with self._lock:
            # An image alone is never refused here.
            if self._held and self._held + pixels > max(LARGEST_IMAGES * max_pixels, ALWAYS):
                raise OutOfMemory(
                    "The images of other requests fill the memory for images. Try again when one is done."
                )
            self._held += pixels
        try:
            image = read()
        except BaseException:
            self._give(pixels)
            raise
        weakref.finalize(image, self._give, pixels)
        return image

    def _give(self, pixels: int) -> None:
        with self._lock:
            self._held -= pixels
