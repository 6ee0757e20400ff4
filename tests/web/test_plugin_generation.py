"""The plugin's four generating endpoints, with the real engine and the built-in model."""

import base64
import time
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pictures import from_base64, half_mask, photograph, to_base64
from PIL import Image, ImageCms

QUICK: dict[str, Any] = {"prompt": "a dog", "num_inference_steps": "2", "seed": "5"}
SMALL = {"width": "64", "height": "64"}


def images(client: FlaskClient, path: str, **form: Any) -> list[dict[str, Any]]:
    """Post as a client of the original server does, and hold the answer to what is documented."""
    response = client.post(path, data=QUICK | form)
    answer = response.get_json()
    assert response.status_code == 200, answer
    assert set(answer) == {"status", "images"}
    assert answer["status"] == "success"
    for image in answer["images"]:
        assert set(image) == {"base64", "seed", "mimetype", "mime_type", "nsfw"}
        assert image["mimetype"] == image["mime_type"] == "image/png"
        assert type(image["seed"]) is int
        assert type(image["nsfw"]) is bool
        assert "\n" not in image["base64"]
        assert from_base64(image["base64"]).mode == "RGB"
    found: list[dict[str, Any]] = answer["images"]
    return found


def picture(client: FlaskClient, path: str, **form: Any) -> Image.Image:
    (image,) = images(client, path, **form)
    return from_base64(image["base64"])


@pytest.mark.parametrize("path", ["/txt2img", "/custom/my_first_model", "/custom/folder/other"])
@pytest.mark.parametrize("size", [(64, 64), (72, 104), (100, 65)])
def test_text_to_image_has_exactly_the_size_asked_for(client: FlaskClient, path: str, size: tuple[int, int]) -> None:
    width, height = size
    assert picture(client, path, width=width, height=height).size == size


@pytest.mark.parametrize("path", ["/img2img", "/custom/my_first_model"])
@pytest.mark.parametrize("size", [(1, 1), (30, 200), (67, 65), (128, 64)])
def test_image_to_image_has_exactly_the_size_of_its_image(
    client: FlaskClient, path: str, size: tuple[int, int]
) -> None:
    assert picture(client, path, init_image=to_base64(photograph(*size)), strength=0.5).size == size


@pytest.mark.parametrize("path", ["/masking", "/custom/folder/other"])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:image/jpeg;base64,"])
def test_masking_changes_the_white_and_keeps_the_black(client: FlaskClient, path: str, prefix: str) -> None:
    init = photograph(96, 72)
    result = picture(
        client, path, init_image=prefix + to_base64(init), mask_image=prefix + to_base64(half_mask(96, 72))
    )
    before, after = np.asarray(init), np.asarray(result)
    assert (before[:, :48] == after[:, :48]).all()
    assert (before[:, 60:] != after[:, 60:]).any(axis=2).mean() > 0.9


@given(data=st.data(), width=st.integers(1, 90), height=st.integers(1, 90))
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_pixels_are_those_of_the_input_for_any_mask_and_size(
    client: FlaskClient, data: st.DataObject, width: int, height: int
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = data.draw(st.sampled_from([[0, 255], [0, 1, 254, 255], list(range(256)), [0]]))
    mask = generator.choice(values, size=(height, width)).astype(np.uint8)
    init = photograph(width, height, seed=int(mask.sum()))
    form = {"init_image": to_base64(init), "mask_image": to_base64(Image.fromarray(mask)), "strength": 1}
    answer = client.post("/masking", data=QUICK | form).get_json()
    assert ("warnings" in answer) == (not mask.any())
    result = from_base64(answer["images"][0]["base64"])
    assert result.size == (width, height)
    assert (np.asarray(init)[mask == 0] == np.asarray(result)[mask == 0]).all()


def test_a_mask_of_another_size_is_fitted_to_the_image(client: FlaskClient) -> None:
    init = photograph(128, 128)
    result = picture(client, "/masking", init_image=to_base64(init), mask_image=to_base64(half_mask(32, 32)))
    assert (np.asarray(init)[:, :60] == np.asarray(result)[:, :60]).all()
    assert (np.asarray(init)[:, 80:] != np.asarray(result)[:, 80:]).any()


def test_a_reported_seed_gives_the_same_picture_alone(client: FlaskClient) -> None:
    three = images(client, "/txt2img", **SMALL, num_outputs=3, seed=0)
    assert len({image["seed"] for image in three}) == 3
    assert len({image["base64"] for image in three}) == 3
    for image in three:
        (again,) = images(client, "/txt2img", **SMALL, seed=image["seed"])
        assert again == image


def test_an_absent_seed_is_chosen_anew_each_time(client: FlaskClient) -> None:
    form = {"prompt": "a dog", "num_inference_steps": 1, **SMALL}
    seeds = {client.post("/txt2img", data=form).get_json()["images"][0]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert 0 not in seeds


def test_given_seeds_count_up(client: FlaskClient) -> None:
    made = images(client, "/txt2img", **SMALL, num_outputs=2, seed=41)
    assert [image["seed"] for image in made] == [41, 42]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "a cat"),
        ("negative_prompt", "a cat"),
        ("num_inference_steps", "3"),
        ("guidance_scale", "3"),
        ("seed", "6"),
        ("scheduler", "euler-a"),
    ],
)
def test_every_parameter_acts(client: FlaskClient, field: str, value: str) -> None:
    assert images(client, "/txt2img", **SMALL) != images(client, "/txt2img", **SMALL | {field: value})


def test_eta_acts_with_ddim(client: FlaskClient) -> None:
    plain = images(client, "/txt2img", **SMALL, scheduler="ddim")
    assert plain == images(client, "/txt2img", **SMALL, scheduler="ddim", eta="0")
    assert plain != images(client, "/txt2img", **SMALL, scheduler="ddim", eta="1")


def test_a_reported_variation_gives_the_same_picture_alone(client: FlaskClient) -> None:
    form = {**QUICK, **SMALL, "variation_strength": "0.3"}
    made = client.post("/txt2img", data=form | {"num_outputs": "3", "seed": "0"}).get_json()["images"]
    assert len({image["seed"] for image in made}) == 1
    assert len({image["base64"] for image in made}) == 3
    for image in made:
        seeds = {name: image[name] for name in ("seed", "variation_seed")}
        (again,) = client.post("/txt2img", data=form | seeds).get_json()["images"]
        assert again == image


def test_clip_skip_acts(client: FlaskClient) -> None:
    assert images(client, "/txt2img", **SMALL) == images(client, "/txt2img", **SMALL, clip_skip=1)
    assert images(client, "/txt2img", **SMALL) != images(client, "/txt2img", **SMALL, clip_skip=2)


def test_a_model_that_cannot_edit_refuses_and_goes_on(client: FlaskClient) -> None:
    before = images(client, "/txt2img", **SMALL)
    answer = client.post("/edit", data=QUICK | {"init_image": to_base64(photograph(64, 64))})
    assert answer.status_code in (400, 422)
    assert answer.get_json()["status"] == "failure"
    assert images(client, "/txt2img", **SMALL) == before


def test_strength_acts_the_more_the_higher(client: FlaskClient) -> None:
    init = photograph(64, 64)
    form = {"init_image": to_base64(init), "num_inference_steps": 10}
    distances = [
        np.abs(
            np.asarray(picture(client, "/img2img", **form, strength=strength), np.int16)
            - np.asarray(picture(client, "/img2img", **form, strength=1.0), np.int16)
        ).mean()
        for strength in (0.1, 0.5, 0.9)
    ]
    assert distances == sorted(distances, reverse=True)


def test_an_answer_names_what_was_ignored_also_that_of_a_job(client: FlaskClient) -> None:
    words = ["steps is not known here and was ignored; use num_inference_steps."]
    form = QUICK | SMALL | {"steps": "20"}
    assert client.post("/txt2img", data=form).get_json()["warnings"] == words
    job = client.post("/txt2img", data=form | {"wait": "false"}).get_json()["job"]
    while client.get(f"/jobs/{job['id']}").get_json()["job"]["state"] != "finished":
        time.sleep(0.01)
    assert client.get(f"/jobs/{job['id']}/result").get_json()["warnings"] == words


def test_fields_may_come_as_multipart(client: FlaskClient) -> None:
    form = QUICK | SMALL
    assert (
        client.post("/txt2img", data=form, content_type="multipart/form-data").get_json()["images"]
        == client.post("/txt2img", data=form).get_json()["images"]
    )


def test_a_picture_tells_how_it_was_made(client: FlaskClient) -> None:
    made = picture(client, "/txt2img", prompt="ein Hund, „grün“", negative_prompt="blurry", width=64, height=72)
    assert made.info["parameters"].splitlines()[:2] == ["ein Hund, „grün“", "Negative prompt: blurry"]
    last = made.info["parameters"].splitlines()[2]
    assert last.startswith("Steps: 2, Sampler: PLMS, CFG scale: 7.5, Seed: 5, Size: 64x72, Model: ")


def test_the_safety_checker_can_be_switched_off_only_where_the_configuration_says_so(
    client: FlaskClient,
) -> None:
    refused = client.post("/txt2img", data=QUICK | SMALL | {"safety_checker": "false"})
    assert refused.status_code == 422
    assert "requires_safety_checker" in refused.get_json()["message"]
    allowed = client.post("/custom/folder/other", data=QUICK | SMALL | {"safety_checker": "false"})
    assert allowed.status_code == 200


def test_an_images_colour_profile_is_passed_on(client: FlaskClient) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = BytesIO()
    photograph(64, 64).save(buffer, "PNG", icc_profile=profile)
    result = picture(client, "/img2img", init_image=base64.b64encode(buffer.getvalue()).decode())
    assert result.info["icc_profile"] == profile
