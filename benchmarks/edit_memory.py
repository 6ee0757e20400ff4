"""The memory of an edit of 256 x 256 pixels on a large canvas, beside the model and HTTP.

It counts the file, its pixels, its mask, the images of each pass and the encoded answer, by what Linux says of the
process's peak. With ``--drawn``, the built-in model draws it, in as few steps as there are: counted is by how much its
peak is higher than that of a canvas of about two megapixels with tiles of as many pixels, per pixel that it has more.

    python benchmarks/edit_memory.py
    python benchmarks/edit_memory.py --megapixels 12
    python benchmarks/edit_memory.py --megapixels 12 --drawn
"""

import argparse
import ctypes
import multiprocessing
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from canvases import canvas, square_mask
from PIL import Image
from running_server import running_queue

from sd_api.allocator import M_MMAP_THRESHOLD, share_one_arena
from sd_api.engine.composing import composed
from sd_api.engine.passes import Drawn, Unit, drawn, operation_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import Inpaint
from sd_api.generation.plan import Plan, area, size_of
from sd_api.generation.planning import plan
from sd_api.generation.spec import JobSpec
from sd_api.imaging.encoding import encode_png
from sd_api.models.tiling import pasted
from sd_api.settings import Limits

EDIT = 256
CONTENTS = ("photo", "noise")
# Bytes of a pixel as it is decoded: Pillow has four for each of 8 bits, alpha included.
KINDS: dict[str, tuple[int, type[np.integer[Any]], int]] = {
    "RGB, 8 bits": (3, np.uint8, 4),
    "RGBA, 8 bits": (4, np.uint8, 4),
    "RGB, 16 bits": (3, np.uint16, 6),
    "RGBA, 16 bits": (4, np.uint16, 8),
}
EXTENDS = (None, "16,16,16,16")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=48)
    parser.add_argument("--drawn", action="store_true", help="with the built-in model; takes minutes")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--contents", nargs="+", choices=CONTENTS, default=CONTENTS)
    arguments = parser.parse_args()
    height = round((arguments.megapixels * 1e6 / 12) ** 0.5) * 3
    size = (height // 3 * 4, height)
    print(f"{'content and kind':37}  decoded       file       peak")
    for kind, content, extend in product(arguments.kinds, arguments.contents, EXTENDS):
        pixel = KINDS[kind][2]
        length, peak = measured(size, kind, content, extend, drawn=arguments.drawn)
        decoded, counted = pixel * area(size), pixel * area(size)
        if arguments.drawn:
            small = _with_such_tiles(size, extend)
            peak -= measured(small, kind, content, extend, drawn=True)[1]
            counted -= pixel * area(small)
        how = f"{kind}, {'extended' if extend else 'of the same size'}"
        megabytes = "  ".join(f"{count / 1e6:>5.0f} MB" for count in (decoded, length, peak))
        print(f"{content:5}  {how:30}  {megabytes}  {peak / counted:.1f} times", flush=True)


def measured(size: tuple[int, int], kind: str, content: str, extend: str | None, *, drawn: bool) -> tuple[int, int]:
    """The bytes of the two files of an edit, and those that it needs."""
    # A new process for each, because a peak never falls.
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder, context.Pool(1, maxtasksperchild=1) as pool:
        length = write(Path(folder), size, kind, content)
        return length, pool.apply(drawn_edit if drawn else edit, (Path(folder), size, extend))


def _with_such_tiles(size: tuple[int, int], extend: str | None) -> tuple[int, int]:
    """A small canvas of the same shape that goes through the model in pieces of as many pixels."""

    def pieces(width: int, height: int) -> list[int]:
        image, mask = Image.new("RGB", (width, height)), square_mask((width, height), EDIT**2 / (width * height))[0]
        images: dict[str, Any] = {"image": ImageRef.of(image, "image"), "mask": ImageRef.of(mask, "mask")}
        passes = plan(_operation(images, extend, Limits(max_image_pixels=2 * area(size)))).regions[0].passes
        return [area(size_of(one.tiles[0]) if one.tiles else one.size) for one in passes]

    wanted = pieces(*size)
    for height in range(1024, 2048, 16):
        width = round(height * size[0] / size[1])
        if pieces(width, height) == wanted:
            return width, height
    raise LookupError(f"no small canvas has pieces of {wanted} pixels")


def write(folder: Path, size: tuple[int, int], kind: str, content: str) -> int:
    """Write a picture and a mask as PNG files; the bytes of both."""
    channels, dtype, _ = KINDS[kind]
    most, rng = int(np.iinfo(dtype).max), np.random.default_rng(3)
    if content == "noise":
        pixels = rng.integers(0, most, (size[1], size[0], channels), dtype, endpoint=True)
    else:
        pixels = np.asarray(canvas(size, "photo")).astype(dtype)
        pixels *= most // 255
        if dtype == np.uint16:
            # The lower bits of a photograph are noise.
            pixels += rng.integers(0, 64, pixels.shape, dtype)
        if channels == 4:
            pixels = np.dstack([pixels, np.full(size[::-1], most // 2, dtype)])
    mask = square_mask(size, EDIT**2 / area(size))[0]
    return (folder / "image").write_bytes(encode_png(pixels)) + (folder / "mask").write_bytes(encode_png(mask))


def edit(folder: Path, size: tuple[int, int], extend: str | None) -> int:
    """The bytes that an edit needs, the two files and the answer included."""
    limits = Limits(max_image_pixels=2 * area(size))
    # What is freed leaves the process, so that only what is in use is counted.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)
    # What is loaded once is no part of it.
    _finished(encode_png(Image.new("RGB", (512, 512))), encode_png(Image.new("L", (512, 512), 255)), None, limits)
    before = _peak()
    _finished((folder / "image").read_bytes(), (folder / "mask").read_bytes(), extend, limits)
    return _peak() - before


def drawn_edit(folder: Path, size: tuple[int, int], extend: str | None) -> int:
    """The bytes that a process needs in which the built-in model draws an edit."""
    share_one_arena()
    limits = Limits(max_image_pixels=2 * area(size))
    images = _images((folder / "image").read_bytes(), (folder / "mask").read_bytes(), limits)
    operation = _operation(images, extend, limits, steps=1)
    with running_queue("fp32") as queue:
        queue.submit(JobSpec(operation=operation, seeds=(7,), limits=limits)).result()
        return _peak()


def _finished(file: bytes, mask: bytes, extend: str | None, limits: Limits) -> bytes:
    """What an engine does of an edit, all but drawing."""
    operation = _operation(_images(file, mask, limits), extend, limits)
    planned = plan(operation)
    regions = [_drawn(operation, planned, number) for number in range(len(planned.regions))]
    return encode_png(composed(operation, planned, Drawn(0, regions, nsfw=False)))


def _images(file: bytes, mask: bytes, limits: Limits) -> dict[str, Any]:
    refs = {
        "mask": ImageRef(mask, "mask", "mask", limits.max_image_pixels),
        "image": ImageRef(file, "image", "image", limits.max_image_pixels),
    }
    for ref in refs.values():
        # As a request decodes them, in this order.
        assert ref.pixels
    return refs


def _operation(images: dict[str, Any], extend: str | None, limits: Limits, steps: int = 20) -> Inpaint:
    values: dict[str, Any] = {"prompt": "", "guidance": 7.5, "strength": 1.0, "depth": "source"}
    return Inpaint(**images, **values, steps=steps, extend=extend, limits=limits)


def _drawn(operation: Inpaint, planned: Plan, number: int) -> Image.Image:
    """A grey picture of a region, whose passes have their images made and their tiles put together as in the engine."""
    image: Image.Image | None = None
    passes = planned.regions[number].passes
    for step, one in enumerate(passes):
        operation_of(operation, planned, Unit(picture=0, region=number, step=step, drawn=image), seed=7)
        tiles = one.tiles or ((0, 0, *one.size),)
        image = pasted(((Image.new("RGB", size_of(tile), "grey"), tile) for tile in tiles), one.size)
    assert image is not None
    return drawn(image, passes[-1])


def _peak() -> int:
    # Not ru_maxrss: that of a new process begins with its parent's.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
