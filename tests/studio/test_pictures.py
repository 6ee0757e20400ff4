"""The pictures of the documentation, and that nothing in them overlaps or is cut off.

Those that the README shows are written where the environment variable ``STUDIO_PICTURES`` says (``make pictures``),
all others, and all without it, to a folder that is thrown away.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ready_server import ready_server
from studio_page import Studio, expect

from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]

# Controls that lie over each other, and texts that do not fit into their place.
FAULTS = """() => {
  const visible = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const inView = (node) => node.closest(".go") === null && !node.matches(".compare input, .skip");
  const controls = [...document.querySelectorAll("button, input, select, textarea, summary, h2, label")]
    .filter((node) => visible(node) && inView(node));
  const boxes = controls.map((node) => node.getBoundingClientRect());
  const faults = [];
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length; j++) {
      if (controls[i].contains(controls[j]) || controls[j].contains(controls[i])) continue;
      const wide = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
      const high = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
      if (wide > 1 && high > 1) faults.push(`${controls[i].outerHTML} lies over ${controls[j].outerHTML}`);
    }
  }
  for (const node of document.querySelectorAll("button, label, h1, h2, h3, summary, dt, dd, p")) {
    const shortened = getComputedStyle(node).textOverflow === "ellipsis" || node.closest(".visually-hidden");
    if (visible(node) && !shortened && node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0) {
      faults.push(`${node.outerHTML} is cut off`);
    }
  }
  return faults;
}"""


# Where the pictures are kept; else any model, a smaller size and fewer steps will do.
KEPT = os.environ.get("STUDIO_PICTURES")
QUICK = {} if KEPT else {"width": 320, "height": 320, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def demo(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """The URL of a server as a newcomer starts it."""
    with ready_server(make_settings(**{"model": str(BUILTIN_MODEL)} if KEPT else {})) as url:
        yield url


@pytest.fixture
def save(tmp_path: Path, repository: Path) -> Callable[..., None]:
    """Look for faults, and take a picture of the page."""
    readme = (repository / "README.md").read_text(encoding="utf-8")

    def take(studio: Studio, name: str, **options: Any) -> None:
        folder = Path(KEPT) if KEPT and f"docs/pictures/{name}.png" in readme else tmp_path
        assert studio.page.evaluate(FAULTS) == []
        # So that no picture shows a caret or a pointer.
        studio.page.mouse.move(0, 0)
        studio.page.screenshot(path=folder / f"{name}.png", animations="disabled", **options)

    return take


def make(studio: Studio, number: int = 1, **fields: Any) -> None:
    """Make a picture with the values that a newcomer finds, but for these."""
    studio.fill(**{name: value for name, value in QUICK.items() if studio.page.locator(f"#{name}").is_visible()})
    studio.fill(**fields)
    studio.generate()
    studio.wait_for_picture(number)


def paint_a_part(studio: Studio) -> None:
    """Take the picture to the table and paint over its middle, with a brush broader than half of it."""
    studio.page.get_by_role("button", name="Edit this").click()
    studio.mode("masking")
    studio.page.get_by_label("Size", exact=True).fill("320")
    studio.page.locator("#view").scroll_into_view_if_needed()
    box = studio.page.locator(".sheet").bounding_box()
    for x, y in ((0.35, 0.35), (0.35, 0.6)):
        studio.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        studio.page.mouse.down()
        studio.page.mouse.move(box["x"] + (x + 0.3) * box["width"], box["y"] + y * box["height"], steps=8)
        studio.page.mouse.up()


def test_the_studio_in_light_and_dark(open_studio: OpenStudio, demo: str, save: Callable[..., None]) -> None:
    studio = open_studio(demo)
    expect(studio.page.locator("#server-state")).to_have_text("Ready on cpu")
    save(studio, "first-view")
    make(studio, 1, prompt="a cupcake on a pink background", seed=44)
    make(studio, 2, prompt="a fox on a yellow background", seed=42)
    make(studio, 3, prompt="a dog on a green background", seed=41)
    save(studio, "studio")
    paint_a_part(studio)
    save(studio, "mask")
    make(studio, 4, prompt="a cat on a green background", strength=0.95, seed=45)
    studio.page.emulate_media(color_scheme="dark")
    save(studio, "masking-dark")


def test_jobs_and_errors(open_studio: OpenStudio, demo: str, save: Callable[..., None]) -> None:
    studio = open_studio(demo, refusals=True)
    studio.fill(prompt="a dog on a green background", num_inference_steps=400, seed=42)
    studio.generate()
    studio.fill(prompt="a cat on a red background")
    studio.generate()
    expect(studio.job().nth(1)).to_contain_text("Number 1")
    expect(studio.job().nth(0).locator("img")).to_be_visible()
    save(studio, "jobs")
    studio.fill(num_inference_steps=0, width=20)
    studio.generate()
    expect(studio.problem("width")).to_be_visible()
    save(studio, "error")
    studio.cancel_all()


def test_a_phone_and_the_status_page(open_studio: OpenStudio, demo: str, save: Callable[..., None]) -> None:
    # That there are no workers is an answer, too.
    phone = open_studio(demo, refusals=True, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    expect(phone.page.locator("#server-state")).to_have_text("Ready on cpu")
    save(phone, "phone")
    make(phone, 1, prompt="a dog on a green background", seed=42)
    paint_a_part(phone)
    save(phone, "phone-whole", full_page=True)
    phone.page.goto(f"{demo}/status")
    expect(phone.page.locator("#checks li")).to_have_count(7)
    save(phone, "phone-status", full_page=True)
    status = open_studio(demo, path="/status", refusals=True)
    expect(status.page.locator("#checks li")).to_have_count(7)
    save(status, "status", full_page=True)
