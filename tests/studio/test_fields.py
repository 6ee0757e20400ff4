"""The form is drawn from what GET /models says, so a new field needs no change of the studio."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from scripted import scripted_server
from studio_page import USABLE, Studio, expect

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]
ShowOffer = Callable[[Callable[[dict[str, Any]], None]], Studio]

WARMTH = {
    "modes": ["txt2img", "img2img"],
    "label": "Warmth",
    "description": "How warm the colours are.",
    "control": "slider",
    "minimum": 0,
    "maximum": 500,
    "slider_maximum": 10,
    "step": 0.5,
    "default": 2.0,
    "png_key": "Colour warmth",
}
PAPER = {
    "modes": ["txt2img"],
    "label": "Paper",
    "description": "What it is drawn on.",
    "control": "choice",
    "choices": ["rough", "smooth"],
    "default": "rough",
    "requires": "paper",
}
BY_ADAPTERS = ["references", "ip_adapters"]


@pytest.fixture
def show_offer(open_studio: OpenStudio, make_settings: Callable[..., Settings]) -> Iterator[ShowOffer]:
    """A studio whose server offers something else than it does."""
    with scripted_server(make_settings()) as (url, finish_loading):
        finish_loading()

        def show(change: Callable[[dict[str, Any]], None]) -> Studio:
            # Only because the server is gone before the page is.
            studio = open_studio(url, refusals=True)

            def answer(route: Any) -> None:
                offer = route.fetch().json()
                offer["models"][0]["modes"] = ["txt2img", "img2img", "masking"]
                change(offer)
                route.fulfill(json=offer)

            studio.page.route("**/models", answer)
            studio.page.reload()
            studio.page.locator(USABLE).wait_for()
            studio.mode("txt2img")
            return studio

        yield show


def sent(studio: Studio) -> dict[str, list[str]]:
    studio.fill(prompt="a dog")
    with studio.page.expect_request("**/txt2img") as request:
        studio.generate()
    return parse_qs(request.value.post_data)


def test_a_new_field_is_drawn_and_sent(show_offer: ShowOffer) -> None:
    studio = show_offer(lambda offer: offer["fields"].update(warmth=WARMTH))
    number, slider = studio.page.get_by_label("Warmth").all()
    assert number.input_value() == "2"
    assert [slider.get_attribute(name) for name in ("min", "max", "step")] == ["0", "10", "0.5"]
    assert number.get_attribute("max") == "500"
    expect(studio.page.get_by_title("How warm the colours are.")).to_be_visible()
    slider.fill("3.5")
    assert number.input_value() == "3.5"
    studio.reload()
    assert studio.page.locator("#warmth").input_value() == "3.5"
    assert sent(studio)["warmth"] == ["3.5"]
    studio.wait_for_picture()
    expect(studio.page.locator("#result-parameters")).to_contain_text("Warmth3.5")
    studio.mode("masking")
    expect(studio.page.locator("#warmth")).to_be_hidden()


def test_a_further_image_is_a_file_that_is_sent_and_comes_back(show_offer: ShowOffer, photo: Path) -> None:
    pose = {"modes": ["txt2img"], "label": "Pose", "description": "Whose pose it has.", "control": "image"}
    studio = show_offer(lambda offer: offer["fields"].update(pose=pose))
    studio.page.evaluate("document.getElementById('more').open = true")
    studio.page.get_by_label("Pose").set_input_files(photo)
    text = sent(studio)["pose"][0]
    assert base64.b64decode(text.partition(",")[2]) == photo.read_bytes()
    studio.wait_for_picture()
    studio.page.get_by_label("Pose").set_input_files([])
    studio.page.get_by_role("button", name="Reuse settings", exact=True).click()
    assert studio.page.get_by_label("Pose").evaluate("(input) => input.files[0].size") == photo.stat().st_size


def test_what_the_model_lacks_is_neither_shown_nor_sent(show_offer: ShowOffer, photo: Path) -> None:
    def offer_paper(offer: dict[str, Any]) -> None:
        offer["fields"]["paper"] = PAPER
        able = offer["models"][0] | {"label": "Able", "url_path": "able", "capabilities": ["paper", *BY_ADAPTERS]}
        # It sees images by itself.
        offer["models"][0]["capabilities"] = ["references"]
        offer["models"].append(able | {"paths": dict.fromkeys(able["paths"], "/txt2img")})

    studio = show_offer(offer_paper)
    studio.page.evaluate("document.getElementById('more').open = true")
    paper = studio.page.locator("#paper")
    expect(paper).to_be_hidden()
    studio.page.locator("[data-field=references] input[type=file]").set_input_files(photo)
    expect(studio.page.get_by_role("group", name="References 1").locator("img")).to_be_visible()
    expect(studio.page.get_by_role("group", name="References 1").get_by_label("Adapter")).to_have_count(0)
    assert "paper" not in sent(studio)
    studio.fill(model="able")
    expect(paper).to_be_visible()
    # It sees images by adapters alone, and there is none.
    expect(studio.page.locator("[data-field=references]")).to_be_hidden()
    paper.select_option("smooth")
    assert sent(studio)["paper"] == ["smooth"]


def test_a_model_that_is_chosen_gets_the_steps_and_the_guidance_that_its_authors_advise(show_offer: ShowOffer) -> None:
    def offer_turbo(offer: dict[str, Any]) -> None:
        advised = {"defaults": {"num_inference_steps": 9, "guidance_scale": 0.0}, "capabilities": []}
        turbo = offer["models"][0] | {"label": "Turbo", "url_path": "turbo", **advised}
        offer["models"].append(turbo | {"paths": dict.fromkeys(turbo["paths"], "/txt2img")})

    studio = show_offer(offer_turbo)
    studio.fill(model="turbo")
    expect(studio.page.locator("#negative_prompt")).to_be_hidden()
    asked = sent(studio)
    assert (asked["num_inference_steps"], asked["guidance_scale"]) == (["9"], ["0"])


def test_a_field_that_acts_with_another_is_shown_with_it(show_offer: ShowOffer) -> None:
    studio = show_offer(lambda offer: offer["models"][0].update(schedulers=["ddim", "plms", "tcd"]))
    eta = studio.page.locator("#eta")
    studio.fill(scheduler="plms")
    expect(eta).to_be_hidden()
    for name in ("ddim", "tcd"):
        studio.fill(scheduler=name)
        expect(eta).to_be_visible()
    expect(studio.page.locator("#scheduler option[value=heun]")).to_be_disabled()


def test_an_edit_is_offered_where_the_model_can(show_offer: ShowOffer) -> None:
    studio = show_offer(lambda offer: None)
    instruction = studio.page.locator("label:has([value=edit])")
    expect(instruction).to_be_hidden()
    able = {"modes": ["txt2img", "edit"], "capabilities": ["image_guidance"]}
    studio = show_offer(lambda offer: offer["models"][0].update(able))
    studio.mode("edit")
    expect(studio.page.get_by_label("Image guidance").first).to_be_visible()
    expect(studio.page.locator("#drop")).to_be_visible()
    expect(studio.page.locator("#strength")).to_be_hidden()


def test_an_operation_to_come_has_its_form(show_offer: ShowOffer, photo: Path) -> None:
    scale = {
        "modes": ["upscale"],
        "label": "Scale",
        "description": "How much larger it becomes.",
        "control": "choice",
        "choices": ["2", "4"],
        "default": "2",
    }

    def offer_upscale(offer: dict[str, Any]) -> None:
        offer["fields"]["scale"] = scale
        offer["fields"]["init_image"]["modes"].append("upscale")
        offer["models"][0]["modes"].append("upscale")
        offer["models"][0]["paths"]["upscale"] = "/img2img"

    studio = show_offer(offer_upscale)
    expect(studio.page.locator("#scale")).to_be_hidden()
    studio.mode("upscale")
    studio.open(photo)
    expect(studio.page.locator("#prompt")).to_be_hidden()
    studio.page.get_by_label("Scale", exact=True).select_option("4")
    with studio.page.expect_request("**/img2img") as request:
        studio.generate()
    form = parse_qs(request.value.post_data)
    assert form["scale"] == ["4"]
    assert base64.b64decode(form["init_image"][0].partition(",")[2]) == photo.read_bytes()


def test_every_faulty_field_of_an_answer_is_reported_beside_it(show_offer: ShowOffer) -> None:
    studio = show_offer(lambda offer: offer["fields"].update(warmth=WARMTH))
    errors = [{"field": "warmth", "message": "warmth is 501; it must be from 0 to 500"}]
    errors += [{"field": "seed + num_outputs - 1", "message": "seed + num_outputs - 1 is too large"}]
    refusal = {"status": "failure", "message": "", "errors": errors}
    studio.page.route("**/txt2img", lambda route: route.fulfill(status=422, body=json.dumps(refusal)))
    sent(studio)
    expect(studio.problem("warmth")).to_have_text("Warmth is 501; it must be from 0 to 500.")
    expect(studio.problem("seed")).to_have_text("The seed of the last picture is too large.")


def test_loras_autoencoders_controls_and_adapters_are_chosen_by_name(show_offer: ShowOffer, photo: Path) -> None:
    def offer_loras(offer: dict[str, Any]) -> None:
        sketch: dict[str, Any] = {
            "name": "sketch",
            "architecture": "Stable Diffusion 1",
            "words": ["pencil sketch"],
            "problem": None,
        }
        fast: dict[str, Any] = {"name": "fast", "architecture": None, "words": [], "problem": None}
        offer["loras"] = [sketch | {"hint": {}}, fast | {"hint": {"num_inference_steps": 4, "scheduler": "euler"}}]
        offer["vaes"] = ["soft"]
        offer["controlnets"] = [{"name": "broken", "problem": "It is damaged."}, {"name": "edges", "problem": None}]
        plus = {"name": "plus", "architecture": "Stable Diffusion 1", "problem": None}
        offer["ip_adapters"] = [plus, {"name": "faces", "problem": "It sees faces."}]
        offer["models"][0].update(capabilities=["loras", "vae", "controls", *BY_ADAPTERS], schedulers=["euler"])

    studio = show_offer(offer_loras)
    page = studio.page
    studio.fill(prompt="a dog")
    page.locator("[data-field=loras] summary").click()
    for name in ("sketch", "fast"):
        page.get_by_label("Add a LoRA").fill(name)
    page.get_by_role("spinbutton", name="Weight of sketch").fill("0.6")
    page.get_by_role("button", name="+ pencil sketch").click()
    page.get_by_role("button", name="Use Steps 4, Scheduler Euler").click()
    expect(page.locator("#vae option")).to_have_text(["Model default", "soft"])
    page.locator("[data-field=controls] input[type=file]").set_input_files(photo)
    page.get_by_role("group", name="Controls 1").get_by_label("Weight").fill("0.5")
    page.locator("[data-field=references] input[type=file]").set_input_files(photo)
    adapter = page.get_by_role("group", name="References 1").get_by_label("Adapter")
    expect(adapter.locator("option")).to_have_text(["Automatic", "plus (Stable Diffusion 1)"])
    adapter.select_option("plus")
    with page.expect_request("**/txt2img") as request:
        studio.generate()
    asked = parse_qs(request.value.post_data)
    assert json.loads(asked["references"][0])[0]["adapter"] == "plus"
    (control,) = json.loads(asked["controls"][0])
    assert (control["model"], control["weight"]) == ("edges", 0.5)
    assert json.loads(asked["loras"][0]) == {"sketch": 0.6, "fast": 1}
    assert asked["prompt"] == ["a dog, pencil sketch"]
    assert (asked["num_inference_steps"], asked["scheduler"]) == (["4"], ["euler"])
    page.get_by_role("button", name="Remove sketch").click()
    studio.reload()
    expect(page.locator("[data-field=loras] .name")).to_have_text(["fast"])


def test_a_list_of_images_is_sent_as_json_and_comes_back(show_offer: ShowOffer, photo: Path) -> None:
    poses = {
        "modes": ["txt2img"],
        "label": "Poses",
        "description": "Whose poses it has.",
        "control": "images",
        "default": [],
        "maximum": 2,
        "entries": {
            "image": {"label": "Image", "control": "image"},
            "reader": {"label": "Reader", "control": "choice", "choices": ["loose", "strict"], "default": "loose"},
            "weight": {
                "label": "Weight",
                "control": "slider",
                "default": 1.0,
                "minimum": 0,
                "maximum": 2,
                "step": 0.05,
            },
        },
    }
    studio = show_offer(lambda offer: offer["fields"].update(poses=poses))
    page = studio.page
    files = page.locator("[data-field=poses] input[type=file]")
    files.set_input_files([photo, photo, photo])
    first, second = (page.get_by_role("group", name=f"Poses {number}") for number in (1, 2))
    expect(page.get_by_role("button", name="add an image")).to_have_count(0)
    second.get_by_label("Weight").fill("0.5")
    second.get_by_label("Reader").select_option("strict")
    page.get_by_role("button", name="Remove Poses 1").click()
    first.get_by_label("Weight").fill("0.7")
    ((entry),) = json.loads(sent(studio)["poses"][0])
    assert base64.b64decode(entry.pop("image").partition(",")[2]) == photo.read_bytes()
    assert entry == {"weight": 0.7, "reader": "strict"}
    studio.wait_for_picture()
    page.get_by_role("button", name="Remove Poses 1").click()
    page.get_by_role("button", name="Reuse settings", exact=True).click()
    expect(first.get_by_label("Weight")).to_have_value("0.7")
    expect(first.locator("img")).to_be_visible()
