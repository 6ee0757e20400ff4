"""The drawings that everything is learned from: Microsoft's Fluent emoji, flat style (MIT licence)."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import cairosvg
from PIL import Image

PACKAGE = "@iconify-json/fluent-emoji-flat@1.2.6"
PIXELS = 640
"""The side that icons are rendered at: as large as a thing ever gets in a picture."""


def fetch_icons(path: Path) -> None:
    """Put the package's one file of icons at the path, with npm; nothing is done where it is there."""
    if path.exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed to fetch the icons.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", "--pack-destination", folder, PACKAGE], check=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            content = archive.extractfile("package/icons.json")
            assert content is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


@cache
def bodies(path: Path) -> dict[str, str]:
    """Each icon's SVG elements in a 32 x 32 view, by name; ``path`` is what ``fetch_icons`` wrote."""
    icons = json.loads(path.read_text(encoding="utf-8"))["icons"]
    return {name: icon["body"] for name, icon in icons.items()}


def render(body: str, pixels: int = PIXELS) -> Image.Image:
    """A square RGBA picture, ``pixels`` wide, of an icon."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>'
    png = cairosvg.svg2png(svg.encode(), output_width=pixels, output_height=pixels)
    return Image.open(io.BytesIO(png)).convert("RGBA")
