"""The studio's first view: how much is transferred, and after how long a picture can be asked for.

Each view is in a browser that has never seen the page, on loopback, beside a server that has its model. The last
line is JSON.

    python benchmarks/studio.py
"""

import argparse
import json
import shutil
import statistics

from playwright.sync_api import Browser, sync_playwright
from running_server import running_server

ALLOWED_BYTES = 150_000
ALLOWED_SECONDS = 0.6

# What is loaded once the page can be used already is not of the first view.
MEASURES = """() => {
  const [usable] = performance.getEntriesByName("usable");
  const loads = performance.getEntries().filter((entry) => "transferSize" in entry && entry.startTime < usable.startTime);
  return {
    requests: loads.length,
    bytes: loads.reduce((sum, { transferSize }) => sum + transferSize, 0),
    painted_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    usable_ms: usable.startTime,
  };
}"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=15)
    arguments = parser.parse_args()

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with running_server("fp32") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        _view(browser, url)
        views = [_view(browser, url) for _ in range(arguments.views)]
        browser.close()

    medians = {name: statistics.median(view[name] for view in views) for name in views[0]}
    slowest = max(view["usable_ms"] for view in views)
    print(f"{'requests':>8}  {'transferred':>11}  {'painted':>9}  {'usable':>9}  {'slowest':>9}")
    print(
        f"{medians['requests']:>8.0f}  {medians['bytes'] / 1e3:>8.1f} kB  {medians['painted_ms']:>6.0f} ms"
        f"  {medians['usable_ms']:>6.0f} ms  {slowest:>6.0f} ms"
    )
    print(f"allowed: {ALLOWED_BYTES / 1e3:.0f} kB, {ALLOWED_SECONDS * 1e3:.0f} ms")
    print(json.dumps({"views": arguments.views, **medians, "slowest_usable_ms": slowest}))


def _view(browser: Browser, url: str) -> dict[str, float]:
    """One view in a browser that has nothing of the page."""
    page = browser.new_page()
    page.goto(url)
    page.locator("#form:not([inert])").wait_for()
    page.wait_for_load_state("networkidle")
    measured: dict[str, float] = page.evaluate(MEASURES)
    page.close()
    return measured


if __name__ == "__main__":
    main()
