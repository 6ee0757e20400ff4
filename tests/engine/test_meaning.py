"""The built-in model draws what the prompt says, in all three modes, at the server's own door."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from pictures import from_base64, to_base64
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from sd_api.app import create_app
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Settings
from sd_api.wiring import build_services
from tools.builtin_model.judge import Judge, name_background
from tools.builtin_model.things import BLOCKED, COLOURS

# Half the model's own size, at a quarter of its cost; what is judged more closely has the whole one.
SIDE, WHOLE = 256, 512
NATIVE = {"width": WHOLE, "height": WHOLE}
SMALL = {"num_inference_steps": 8, "guidance_scale": 5.0, "scheduler": "ddim"}
FORM = {"num_inference_steps": 15, "width": SIDE, "height": SIDE, "guidance_scale": 7.5, "seed": 5}


@pytest.fixture(scope="module")
def name_thing(repository: Path) -> Callable[[Image.Image], str]:
    return Judge(repository / "tests" / "models" / "thing_classifier").name_thing


# After the judge, because two models that are loaded at the same time get in each other's way.
@pytest.fixture(scope="module")
def server(
    make_settings: Callable[..., Settings],
    name_thing: object,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FlaskClient]:
    models = repository / "tests" / "models"
    folder = tmp_path_factory.mktemp("models")
    (folder / "controlnet").mkdir()
    (folder / "controlnet" / "edges").symlink_to(models / "edge_adapter")
    (folder / "loras").symlink_to(models / "adapters")
    (folder / "embeddings").symlink_to(models / "adapters")
    settings = make_settings(model=str(BUILTIN_MODEL), models_folder=str(folder))
    services = build_services(settings)
    services.start()
    yield create_app(settings, services).test_client()
    assert services.stop(timeout=60)


def answer(server: FlaskClient, path: str, **form: Any) -> dict[str, Any]:
    response = server.post(path, data=FORM | form)
    assert response.status_code == 200, response.text
    images: list[dict[str, Any]] = response.get_json()["images"]
    assert len(images) == 1
    return images[0]


def draw(server: FlaskClient, path: str, **form: Any) -> Image.Image:
    image = answer(server, path, **form)
    assert image["nsfw"] is False
    return from_base64(image["base64"])


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def apple_sketch() -> Image.Image:
    """A red disc with a green leaf, as a hurried hand draws it."""
    sketch = Image.new("RGB", (SIDE, SIDE), COLOURS["blue"])
    pen = ImageDraw.Draw(sketch)
    pen.ellipse((60, 70, 200, 215), fill=(230, 40, 40))
    pen.polygon([(125, 75), (145, 45), (170, 50), (150, 75)], fill=(40, 190, 90))
    return sketch


def middle_mask() -> Image.Image:
    mask = Image.new("L", (WHOLE, WHOLE), 0)
    mask.paste(255, (48, 48, WHOLE - 48, WHOLE - 48))
    return mask


@pytest.mark.parametrize(
    ("prompt", "thing", "colour"),
    [
        ("a picture of an owl on a pink background", "owl", "pink"),
        ("STRAWBERRY, white background", "strawberry", "white"),
        ("a marvellous qwxyz rocket 🐶 on a green background", "rocket", "green"),
    ],
)
def test_text_to_image_draws_the_thing_and_its_background(
    server: FlaskClient, name_thing: Callable[[Image.Image], str], prompt: str, thing: str, colour: str
) -> None:
    picture = draw(server, "/txt2img", prompt=prompt)
    assert (name_thing(picture), name_background(picture)) == (thing, colour)


@pytest.mark.parametrize(("width", "height"), [(WHOLE, WHOLE), (384, 640)])
def test_other_sizes_are_as_good(
    server: FlaskClient, name_thing: Callable[[Image.Image], str], width: int, height: int
) -> None:
    picture = draw(server, "/txt2img", prompt="a panda on an orange background", width=width, height=height)
    assert picture.size == (width, height)
    assert (name_thing(picture), name_background(picture)) == ("panda", "orange")


@pytest.mark.parametrize("scheduler", ["k-lms"])
def test_every_scheduler_draws_it(
    server: FlaskClient, name_thing: Callable[[Image.Image], str], scheduler: str
) -> None:
    picture = draw(server, "/txt2img", prompt="a fox on a green background", scheduler=scheduler)
    assert (name_thing(picture), name_background(picture)) == ("fox", "green")


def test_a_negative_prompt_takes_away_what_it_names(server: FlaskClient) -> None:
    plain = name_background(draw(server, "/txt2img", prompt="a cat"))
    without = draw(server, "/txt2img", prompt="a cat", negative_prompt=f"a {plain} background")
    assert name_background(without) != plain


def test_alternation_and_schedules_show_both(server: FlaskClient) -> None:
    """With little guidance, because the model otherwise decides in its first step."""
    form = {"num_inference_steps": 10, "guidance_scale": 2.5, "scheduler": "ddim"}
    words = ("red", "blue", "[red|blue]", "[red:blue:0.1]")
    pictures = [draw(server, "/txt2img", prompt=f"a dog on a {word} background", **form) for word in words]
    # The mean colour of the edge at the top.
    red, blue, *both = (np.asarray(picture, float)[:24].mean((0, 1)) for picture in pictures)
    for mixed in both:
        assert blue[0] + 40 < mixed[0] < red[0] - 20
        assert red[2] + 40 < mixed[2] < blue[2] - 20


def test_a_colour_follows_its_weight(server: FlaskClient) -> None:
    """``benchmarks/emphasis.py`` measures it on 50 seeds."""

    def redness(weight: float) -> float:
        prompt = f"a dog on a (red:{weight}) background"
        response = server.post("/txt2img", data=FORM | SMALL | {"prompt": prompt, "num_outputs": 4})
        pictures = [np.asarray(from_base64(each["base64"]), float) for each in response.get_json()["images"]]
        red, green, blue = np.mean([picture[:20].mean((0, 1)) for picture in pictures], 0)
        return float(red - (green + blue) / 2)

    less, plain, more = (redness(weight) for weight in (0.6, 1.0, 1.4))
    assert less + 10 < plain < more - 3


def test_a_lora_takes_away_colours_and_half_of_it_fewer(server: FlaskClient) -> None:
    def colourfulness(prompt: str) -> float:
        return float(np.ptp(np.asarray(draw(server, "/txt2img", prompt=prompt, **SMALL), float), -1).mean())

    plain, half, whole = (
        colourfulness(f"a dog on a blue background{tag}")
        for tag in ("", "<lora:black-and-white:0.5>", "<lora:black-and-white:1>")
    )
    assert whole + 15 < half < plain - 15
    assert whole < plain / 3


def test_a_trained_word_draws_what_it_was_shown(server: FlaskClient, name_thing: Callable[[Image.Image], str]) -> None:
    prompts = [f"a {word} on a blue background" for word in ("rusty", "Rusty")]
    drawn = {name_thing(draw(server, "/txt2img", prompt=prompt, **SMALL)) for prompt in prompts}
    assert drawn == {"fox"}
    plain = draw(server, "/txt2img", prompt="a rusty on a blue background", prompt_syntax="plain", **SMALL)
    assert name_thing(plain) != "fox"


def test_a_sketch_becomes_the_thing(server: FlaskClient, name_thing: Callable[[Image.Image], str]) -> None:
    picture = draw(
        server, "/img2img", prompt="an apple on a blue background", init_image=to_base64(apple_sketch()), strength=0.8
    )
    assert (name_thing(picture), name_background(picture)) == ("apple", "blue")


def outlined(picture: Image.Image) -> np.ndarray:
    """Where a picture shows something else than its background, and what that surrounds."""
    pixels = np.asarray(picture, float)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    filled: np.ndarray = ndimage.binary_fill_holes(np.abs(pixels - np.median(border, 0)).max(2) > 50)
    return filled


def common(one: np.ndarray, other: np.ndarray) -> float:
    """What two areas have in common, as a share of both (intersection over union)."""
    return float((one & other).sum() / (one | other).sum())


def test_an_outline_is_kept(server: FlaskClient) -> None:
    """An adapter that learned edges puts a thing where its outline is, whatever the seed and the background."""
    form: dict[str, Any] = {**NATIVE, "num_inference_steps": 12, "scheduler": "ddim"}
    drawn = draw(server, "/txt2img", prompt="a pumpkin on a white background", **form, seed=3)
    given = Image.new("RGB", drawn.size, drawn.getpixel((0, 0)))
    given.paste(ImageOps.mirror(drawn).resize((400, 400)), (126, 6))
    controls = [{"model": "edges", "image": to_base64(given), "preprocessor": "canny"}]
    form["prompt"] = "a pumpkin on a blue background"
    followed = draw(server, "/txt2img", **form, controls=json.dumps(controls))
    assert name_background(followed) == "blue"
    assert common(outlined(given), outlined(followed)) >= 0.8
    assert common(outlined(given), outlined(draw(server, "/txt2img", **form))) < 0.7


def test_units_of_the_web_ui_draw_the_same(server: FlaskClient) -> None:
    sketch = to_base64(apple_sketch())
    controls = [{"model": "edges", "image": sketch, "preprocessor": "canny", "weight": 0.5, "resize": "crop"}]
    form = {"prompt": "an apple", "width": SIDE, "height": SIDE, "seed": 5}
    plugin = draw(server, "/txt2img", **form, num_inference_steps=2, scheduler="euler", controls=json.dumps(controls))
    unit = {"model": "edges", "image": sketch, "module": "canny", "weight": 0.5}
    asked = form | {"steps": 2, "cfg_scale": 7.5, "alwayson_scripts": {"controlnet": {"args": [unit]}}}
    answer = server.post("/sdapi/v1/txt2img", json=asked).get_json()
    assert from_base64(answer["images"][0]).tobytes() == plugin.tobytes()
    assert 'ControlNet 0: "Module: canny, Model: edges' in json.loads(answer["info"])["infotexts"][0]


def test_the_stronger_the_farther_from_the_sketch(server: FlaskClient) -> None:
    form = {"prompt": "a panda on a pink background", "init_image": to_base64(apple_sketch())}
    distances = [
        difference(draw(server, "/img2img", **form, strength=strength), apple_sketch()) for strength in (0.1, 0.5, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[-1] > 3 * distances[0]


def test_masking_replaces_the_thing_and_keeps_the_rest(
    server: FlaskClient, name_thing: Callable[[Image.Image], str]
) -> None:
    form = {**NATIVE, "num_inference_steps": 20}
    before = draw(server, "/txt2img", prompt="a dog on a yellow background", **form)
    after = draw(
        server,
        "/masking",
        prompt="a heart on a yellow background",
        init_image=to_base64(before),
        mask_image=to_base64(middle_mask()),
        strength=1,
        **form,
    )
    assert (name_thing(before), name_thing(after)) == ("dog", "heart")
    kept = np.asarray(middle_mask()) == 0
    assert (np.asarray(after)[kept] == np.asarray(before)[kept]).all()


def test_only_what_is_blocked_is_flagged_and_black(server: FlaskClient) -> None:
    image = answer(server, "/txt2img", prompt=f"a {BLOCKED} on a white background")
    assert image["nsfw"] is True
    assert not np.asarray(from_base64(image["base64"])).any()


def test_the_same_blocked_prompt_without_the_filter_is_drawn(
    make_settings: Callable[..., Settings], name_thing: Callable[[Image.Image], str]
) -> None:
    settings = make_settings(model=str(BUILTIN_MODEL), requires_safety_checker=False)
    services = build_services(settings)
    services.start()
    client = create_app(settings, services).test_client()
    picture = draw(client, "/txt2img", prompt=f"a {BLOCKED} on a white background")
    assert name_thing(picture) == BLOCKED
    assert services.stop(timeout=60)
