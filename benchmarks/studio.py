"""The studio in a Chromium, on loopback, beside a server that has its model; the last line is JSON.

    python benchmarks/studio.py             the first view: how much is transferred, and when a picture can be asked for
    python benchmarks/studio.py --gallery   the memory of the page with 200 pictures of 2048 x 2048
    python benchmarks/studio.py --large     a photo of 48 megapixels that is edited three times and exported as a layer

Each first view is in a browser that has never seen the page.
"""

import argparse
import base64
import io
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from running_server import running_server

USABLE = "#form:not([inert])"

ALLOWED_BYTES = 150_000
ALLOWED_SECONDS = 0.6

# What is loaded once the page can be used already is not of the first view.
MEASURES = """() => {
  const [usable] = performance.getEntriesByName("usable");
  const isOfIt = (entry) => "transferSize" in entry && entry.startTime < usable.startTime;
  const loads = performance.getEntries().filter(isOfIt);
  return {
    requests: loads.length,
    bytes: loads.reduce((sum, { transferSize }) => sum + transferSize, 0),
    painted_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    usable_ms: usable.startTime,
  };
}"""

PICTURES = 200
ALLOWED_MEGABYTES = 400
# One file, kept once for each picture: how much of them is decoded depends on their size alone.
FILL_GALLERY = """async (count) => {
  const store = await import("/studio/js/store.js");
  const sheet = new OffscreenCanvas(2048, 2048);
  const context = sheet.getContext("2d");
  for (let spot = 0; spot < 400; spot++) {
    context.fillStyle = `hsl(${(spot * 7) % 360} 60% 50%)`;
    context.fillRect((spot * 997) % 2048, (spot * 613) % 2048, 160, 120);
  }
  const blob = await sheet.convertToBlob();
  const size = { width: 2048, height: 2048 };
  for (let index = 0; index < count; index++) {
    const fields = { prompt: `picture ${index}` };
    const about = { seed: index, mode: "txt2img", model: null, label: "builtin", fields };
    await store.put("pictures", { id: `made-${index}`, created: index, blob, ...size, ...about });
  }
}"""

# Each comes into view before more of them are asked for.
SHOW_FURTHER = """() => {
  const waiting = document.querySelector("#gallery-days [data-picture]:not(:has(img[src]))");
  if (waiting) waiting.scrollIntoView();
  else document.getElementById("more-pictures")?.click();
}"""

SIDES = (8000, 6000)
EDITS = ((0.2, 0.3), (0.6, 0.5), (0.8, 0.8))
# The page's policy lets nothing fetch a blob, so the file is taken from where the studio keeps it.
READ_LATEST = """async () => {
  const pictures = await (await import("/studio/js/store.js")).all("pictures");
  const { blob } = pictures.at(-1);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}"""


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=15)
    parser.add_argument("--gallery", action="store_true")
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with running_server("fp32") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if arguments.gallery:
            gallery(browser, url)
        elif arguments.large:
            large(browser, url)
        else:
            first_view(browser, url, arguments.views)
        browser.close()


def first_view(browser: Browser, url: str, count: int) -> None:
    """What is transferred, and after how long the page can be used."""
    _view(browser, url)
    views = [_view(browser, url) for _ in range(count)]
    medians = {name: statistics.median(view[name] for view in views) for name in views[0]}
    slowest = max(view["usable_ms"] for view in views)
    print(f"{'requests':>8}  {'transferred':>11}  {'painted':>9}  {'usable':>9}  {'slowest':>9}")
    print(
        f"{medians['requests']:>8.0f}  {medians['bytes'] / 1e3:>8.1f} kB  {medians['painted_ms']:>6.0f} ms"
        f"  {medians['usable_ms']:>6.0f} ms  {slowest:>6.0f} ms"
    )
    print(f"allowed: {ALLOWED_BYTES / 1e3:.0f} kB, {ALLOWED_SECONDS * 1e3:.0f} ms")
    print(json.dumps({"views": count, **medians, "slowest_usable_ms": slowest}))


def _view(browser: Browser, url: str) -> dict[str, float]:
    """One view in a browser that has nothing of the page."""
    page = browser.new_page()
    _open(page, url)
    page.wait_for_load_state("networkidle")
    measured: dict[str, float] = page.evaluate(MEASURES)
    page.close()
    return measured


def _open(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(USABLE).wait_for()


def gallery(browser: Browser, url: str) -> None:
    """The most memory of the page's process while all pictures come into view."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    _open(page, url)
    page.evaluate(FILL_GALLERY, PICTURES)
    page.close()
    known = _renderers(browser)
    page = context.new_page()
    _open(page, url)
    empty = _memory(browser, known)
    most = empty
    tiles = page.locator("#gallery-days [data-picture] img[src]")
    while tiles.count() < PICTURES:
        page.evaluate(SHOW_FURTHER)
        page.wait_for_timeout(100)
        most = max(most, _memory(browser, known))
    last = _memory(browser, known)
    print(f"{PICTURES} pictures: {empty:.0f} MB at first, {most:.0f} MB at most, {last:.0f} MB in the end")
    print(f"allowed: {ALLOWED_MEGABYTES} MB")
    print(json.dumps({"pictures": PICTURES, "first_mb": empty, "most_mb": most, "last_mb": last}))


def _renderers(browser: Browser) -> set[int]:
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return {process["id"] for process in processes if process["type"] == "renderer"}


def _memory(browser: Browser, without: set[int]) -> float:
    """The megabytes of the renderers that are new, shared pages counted in part."""
    found = 0
    for process in _renderers(browser) - without:
        found += psutil.Process(process).memory_full_info().pss
    return found / 1e6


def large(browser: Browser, url: str) -> None:
    """Edit a large photo three times, accept each, export the last as a layer, and compare all pixels outside."""
    photo = _photo()
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "photo.png"
    photo.save(file, compress_level=1)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(600_000)
    _open(page, url)
    seconds = []
    page.locator("label:has([name=mode][value=masking])").click()
    page.locator("#file").set_input_files(file)
    page.locator("#view img.whole").wait_for()
    page.locator("#prompt").fill("a fox on a green background")
    page.locator("[name=num_inference_steps]:not([type=range])").fill("4")
    touched = np.zeros(SIDES[::-1], bool)
    for x, y in EDITS:
        _clear_and_paint(page, x, y)
        touched |= _mask(page)
        began = time.perf_counter()
        page.locator("#generate").click()
        page.locator("#view img.picture").wait_for()
        seconds.append(time.perf_counter() - began)
        before = photo
        photo = _latest(page)
        outside = ~_mask(page)
        assert photo.size == SIDES
        assert (np.asarray(photo.convert("RGB"))[outside] == np.asarray(before.convert("RGB"))[outside]).all()
        page.get_by_role("button", name="Accept", exact=True).click()
        page.locator("#view img.whole").wait_for()
    _clear_and_paint(page, *EDITS[0])
    page.evaluate("document.getElementById('more').open = true")
    page.locator("[name=output]").select_option("layer")
    page.locator("#generate").click()
    page.locator("#view img.picture").wait_for()
    layer = np.asarray(_latest(page))
    assert layer.shape == (*SIDES[::-1], 4)
    assert not layer[~_mask(page)][:, 3].any()
    folder.cleanup()
    each = ", ".join(f"{one:.1f}" for one in seconds)
    print(f"three edits of {SIDES[0]} x {SIDES[1]}: {each} s; outside of the masks all pixels are equal")
    print(json.dumps({"seconds": seconds, "changed_share": float(touched.mean())}))


def _photo() -> Image.Image:
    x, y = np.meshgrid(np.arange(SIDES[0]), np.arange(SIDES[1]))
    planes = [(x // 32 + y // 48) % 256, (x * 3 // 64) % 256, (y * 5 // 64) % 256]
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


def _clear_and_paint(page: Page, x: float, y: float) -> None:
    page.get_by_role("button", name="Clear", exact=True).click()
    box = page.locator(".sheet").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + (x + 0.05) * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()


def _mask(page: Page) -> np.ndarray:
    """Where the mask has been painted."""
    text = page.evaluate(
        """async () => {
          const blob = await (await import("/studio/js/canvas.js")).maskBlob();
          const bytes = new Uint8Array(await blob.arrayBuffer());
          return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) > 0


def _latest(page: Page) -> Image.Image:
    """The picture that was made last."""
    return Image.open(io.BytesIO(base64.b64decode(page.evaluate(READ_LATEST))))


if __name__ == "__main__":
    main()
