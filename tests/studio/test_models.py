"""The panel of the models: what is there, which one draws, and downloads from the hub."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from fake_hub import FakeHub
from hub_client import client_of, working_hub
from ready_server import ready_server
from studio_page import Studio, expect, look
from tiny_model import tiny_model

from sd_api.settings import Settings

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    """A hub that works and has every model."""
    with working_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def url(
    hub: FakeHub, make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server over the hub, with two models on its disk."""
    custom = {"model_path": str(tiny_model()), "ui_label": "My Other Model", "url_path": "other"}
    settings = make_settings(custom_models=[custom | {"requires_safety_checker": False}])
    with client_of(hub, tmp_path_factory.mktemp("hub")), ready_server(settings) as url:
        yield url


@pytest.fixture
def panel(open_studio: Callable[..., Studio], url: str) -> Studio:
    """The studio with the panel open."""
    studio = open_studio(url, refusals=True)
    studio.page.locator("#open-models").click()
    return studio


def model(studio: Studio, name: str) -> Any:
    return studio.page.locator("#model-list > li", has_text=name)


def download(studio: Studio, name: str) -> Any:
    return studio.page.locator("#download-list > li", has_text=name)


def ask_for(studio: Studio, name: str) -> None:
    studio.page.get_by_label("Download from the Hugging Face hub").fill(name)
    studio.page.keyboard.press("Enter")


def test_the_models_are_listed_with_their_sizes_and_one_is_chosen(panel: Studio) -> None:
    page = panel.page
    first = page.locator("#model-list > li").first
    expect(first).to_contain_text("Loaded, ")
    expect(first).to_contain_text("all parts on the device")
    expect(first.get_by_role("button")).to_be_disabled()
    other = model(panel, "My Other Model")
    expect(other).to_contain_text("MB on the disk")
    other.get_by_role("button", name="Use: My Other Model").click()
    expect(other.get_by_role("button")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#model")).to_have_value("other")
    expect(page.locator("#open-models")).to_be_focused()
    # Its files may have changed since.
    page.route(
        "**/estimate", lambda route: route.fulfill(json={"status": "success", "estimate": {"memory": {"disk": None}}})
    )
    page.locator("#open-models").click()
    expect(other).to_contain_text("Not downloaded")


def test_a_model_of_the_hub_is_downloaded_and_draws(
    panel: Studio, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    page = panel.page
    hub.stall.add(WEIGHTS)
    # As it is copied from the address bar.
    ask_for(panel, f"{hub.url}/demo/tiny")
    row = download(panel, "demo/tiny")
    expect(row).to_contain_text(" MB of ")
    expect(row).not_to_contain_text("(0 %)")
    assert 0 < row.locator("progress").evaluate("(bar) => bar.position") < 1
    # Without the panel, the form says how far it is.
    page.keyboard.press("Escape")
    expect(page.locator("#download-note")).to_contain_text("demo/tiny: ")
    panel.reload()
    expect(page.locator("#download-note")).to_contain_text("demo/tiny: ")
    page.locator("#open-models").click()
    row.get_by_role("button", name="Cancel: demo/tiny").click()
    expect(row).to_have_count(0)
    ask_for(panel, "demo/tiny")
    expect(row).to_contain_text("Complete, ")
    model(panel, "demo/tiny").get_by_role("button", name="Use: ").click()
    row.get_by_role("button", name="Remove from this list").click()
    expect(page.locator("#downloads")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#model")).to_have_value("huggingface:demo/tiny")
    panel.quick()
    panel.generate()
    panel.wait_for_picture()
    # The panel opens also after a form was sent.
    page.locator("#open-models").click()
    expect(model(panel, "demo/tiny").get_by_role("button")).to_be_disabled()


def test_a_download_that_begins_during_a_question_is_followed(
    open_studio: Callable[..., Studio], url: str, hub: FakeHub
) -> None:
    studio = open_studio(url, refusals=True)
    page = studio.page
    held: list[Any] = []

    def hold(route: Any) -> None:
        if route.request.method == "GET" and not held:
            held.append(route)
        else:
            route.continue_()

    before = requests.get(f"{url}/downloads", timeout=10).text
    page.route("**/downloads", hold)
    page.locator("#open-models").click()
    ask_for(studio, "demo/half")
    expect(page.get_by_label("Download from the Hugging Face hub")).to_have_value("")
    held[0].fulfill(body=before, content_type="application/json")
    row = download(studio, "demo/half")
    expect(row).to_contain_text("Complete, ")
    row.get_by_role("button", name="Remove from this list").click()
    expect(row).to_have_count(0)


@pytest.mark.parametrize(("name", "words"), [("", "Enter the id"), ("a b", "no name of a model")])
def test_what_is_no_id_is_refused_beside_the_field(panel: Studio, name: str, words: str) -> None:
    ask_for(panel, name)
    field = panel.page.locator("#download-id")
    expect(panel.page.locator("#download-problem")).to_contain_text(words)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    field.fill("demo")
    expect(panel.page.locator("#download-problem")).to_be_hidden()


def test_a_download_that_fails_says_why_and_can_be_tried_again(panel: Studio, hub: FakeHub) -> None:
    ask_for(panel, "demo/absent")
    row = download(panel, "demo/absent")
    expect(row).to_contain_text("There is no model demo/absent on the Hugging Face hub")
    hub.repositories["demo/absent"] = hub.repositories["demo/tiny"]
    look(panel)
    row.get_by_role("button", name="Try again").click()
    expect(row).to_contain_text("Complete, ")
    del hub.repositories["demo/absent"]
