"""The page about the API, as a person tries it out."""

from collections.abc import Callable
from typing import Any

import pytest
from studio_page import USABLE, Studio

OpenStudio = Callable[..., Studio]


@pytest.fixture
def page(open_studio: OpenStudio, server: str) -> Any:
    """The page on a phone; it loads nothing from elsewhere, and its policy forbids nothing that it needs."""
    page = open_studio(server, path="/docs/", viewport={"width": 390, "height": 800}).page
    page.locator(".opblock").first.wait_for()
    return page


def test_operations_can_be_tried_out_as_they_stand_and_again(page: Any) -> None:
    for operation in ("txt2img", "masking"):
        block = page.locator(f"#operations-plugin-{operation}")
        block.locator(".opblock-summary-control").click()
        block.locator(".try-out__btn").click()
        # Quick; what the numbers are is not what is tested.
        for name in {"txt2img": ("width", "height")}.get(operation, ()):
            block.locator(f'[data-property-name="{name}"] input[type="text"]').fill("64")
        for _ in range(2):
            with page.expect_response(lambda answer: answer.url.endswith(("/txt2img", "/masking"))) as got:
                block.locator(".execute").click()
            assert got.value.status == 200, got.value.text()
            assert [image["seed"] for image in got.value.json()["images"]] == [42]


def test_it_fits_a_phone_and_leads_back_to_the_studio(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#theme").click(click_count=2)
    assert page.evaluate("document.documentElement.className") == "dark-mode"
    page.locator(".brand").click()
    page.locator(USABLE).wait_for()
