"""What a person does on the studio's page."""

import base64
import gzip
import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import expect

__all__ = ["USABLE", "WATCH_SHIFTS", "Studio", "expect", "faults", "look", "open_photo", "painted", "stroke"]

# Other things may keep the processor busy.
expect.set_options(timeout=20_000)

AXE = Path(__file__).parent / "studio" / "axe" / "axe.min.js.gz"

# The form, once it holds what the server offers.
USABLE = "#form:not([inert])"

# As a person would drop a file: Playwright itself cannot.
DROP = """([selector, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const event = (kind) => new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  const target = document.querySelector(selector);
  for (const kind of ["dragenter", "dragover", "drop"]) target.dispatchEvent(event(kind));
}"""

# The bytes of what an image shows.
READ = """async (image) => {
  const bytes = new Uint8Array(await (await new Promise((resolve) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    canvas.toBlob(resolve);
  })).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


# Layout shifts from here on, added up in window.shifts; what a key or the pointer has moved is none.
WATCH_SHIFTS = """() => {
  window.shifts = 0;
  const add = (list) => list.getEntries().forEach((entry) => (window.shifts += entry.hadRecentInput ? 0 : entry.value));
  new PerformanceObserver(add).observe({ type: "layout-shift" });
}"""


class Studio:
    """One open page.

    Attributes:
        page: Playwright's page.
        url: the server's address.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url

    def reload(self) -> None:
        """Load the page anew."""
        self.page.reload()
        self.page.locator(USABLE).wait_for()

    def fill(self, **fields: Any) -> None:
        """Fill in the form's fields by their names."""
        for name, value in fields.items():
            control = self.page.locator(f"#form [name={name}]:not([type=radio])")
            if control.evaluate("(node) => node.matches('select')"):
                self.page.evaluate("document.getElementById('more').open = true")
                control.select_option(value)
            else:
                control.fill(str(value))

    def quick(self, **fields: Any) -> None:
        """A small picture of few steps."""
        self.fill(**{"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 3, **fields})

    def mode(self, name: str) -> None:
        """Choose what to start from."""
        self.page.locator(f"label:has([name=mode][value={name}])").click()

    def generate(self) -> None:
        """Press the button."""
        self.page.locator("#generate").click()

    def job(self) -> Any:
        """The jobs in progress."""
        return self.page.locator("#job-list .job")

    def cancel_all(self) -> None:
        """Cancel all that is in progress."""
        for left in range(self.job().count() - 1, -1, -1):
            self.job().first.get_by_role("button", name="Cancel").click()
            expect(self.job()).to_have_count(left)

    def result(self) -> Any:
        """The large picture, once it is one."""
        return self.page.locator("#view img.picture")

    def open(self, image: Path) -> None:
        """Choose a file; returns when it is on the table."""
        self.page.locator("#file").set_input_files(image)
        expect(self.page.locator("#view img.whole")).to_be_visible()

    def wait_for_picture(self, number: int = 1) -> Image.Image:
        """Wait until so many pictures are in the gallery; the one that is shown large."""
        expect(self.page.locator("#gallery-days [data-picture]")).to_have_count(number, timeout=60_000)
        expect(self.result()).to_be_visible()
        return self.pixels(self.result())

    def pixels(self, image: Any) -> Image.Image:
        """What an image shows, in its own size."""
        image.evaluate("(image) => image.decode()")
        data = base64.b64decode(image.evaluate(READ))
        return Image.open(io.BytesIO(data)).convert("RGB")

    def drop(self, selector: str, path: Path, kind: str = "image/png") -> None:
        """Drop a file there."""
        self.page.evaluate(DROP, [selector, path.name, kind, base64.b64encode(path.read_bytes()).decode()])

    def problem(self, field: str) -> Any:
        """What is said beside a field."""
        return self.page.locator(f'[data-field="{field}"] .error')


def open_photo(studio: Studio, photo: Path, mode: str) -> None:
    """A small job that begins with an image."""
    studio.quick(seed=3)
    studio.mode(mode)
    studio.open(photo)


def stroke(studio: Studio, *points: tuple[float, float]) -> None:
    """Paint along points, as shares of the image's sides."""
    box = studio.page.locator(".sheet").bounding_box()
    mouse = studio.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    mouse.move(*places[0])
    mouse.down()
    for place in places:
        mouse.move(*place, steps=4)
    mouse.up()


def painted(studio: Studio) -> float:
    """The share of the image that the mask covers."""
    covered: float = studio.page.evaluate("async () => (await import('/studio/js/canvas.js')).currentMask().coverage()")
    return covered


def faults(studio: Studio) -> list[str]:
    """What axe-core finds, of any impact."""
    if not studio.page.evaluate("'axe' in window"):
        # Not as a script of the page, which its policy forbids.
        studio.page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = studio.page.evaluate("async () => (await axe.run({ resultTypes: ['violations'] })).violations")
    return [f"{fault['id']}: {fault['nodes'][0]['html']} {fault['nodes'][0]['failureSummary']}" for fault in found]


def look(studio: Studio) -> None:
    """In light and in dark: nothing is wrong, and nothing is wider than the window."""
    for scheme in ("light", "dark"):
        # Colours that are on their way from one to the other have no contrast to be judged.
        studio.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert faults(studio) == []
    assert studio.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
