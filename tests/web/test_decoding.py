"""What a request of each dialect becomes: the job that reaches an engine, and what its answer reports."""

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from pictures import photograph, png, to_base64
from task_client import TaskClient
from tiny_model import tiny_model

from sd_api.app import create_app
from sd_api.generation.engine import EngineStatus, Feed
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, TextToImage
from sd_api.generation.result import GeneratedImage, GenerationResult, Placement
from sd_api.generation.spec import JobSpec
from sd_api.wiring import build_services

IMAGE = to_base64(photograph(64, 72))
MASK = to_base64(photograph(8, 8))


# What is answered beside each patch that the engine below makes.
PLACED = ({"x": 8, "y": 0}, {"width": 72, "height": 72})


class Recording:
    """An engine that takes note of its jobs, and whose pictures are empty."""

    def __init__(self) -> None:
        self.specs: list[JobSpec] = []

    def load(self) -> None:
        pass

    def status(self) -> EngineStatus:
        return EngineStatus("ready", "a model")

    def at_once(self) -> int:
        return 1

    def serve(self, feed: Feed) -> None:
        while runs := feed.poll(1, active=False) or feed.wait(1):
            for run in runs:
                self.specs.append(run.spec)
                placement = (
                    Placement(8, 0, *run.spec.size) if getattr(run.spec.operation, "output", "") == "patch" else None
                )
                images = [
                    GeneratedImage(b"", each.seed, False, each.variation, placement) for each in run.spec.pictures
                ]
                run.finish(GenerationResult(tuple(images)))


@pytest.fixture(scope="module")
def engine() -> Recording:
    return Recording()


@pytest.fixture(scope="module")
def client(make_settings: Any, engine: Recording) -> Iterator[FlaskClient]:
    custom = {
        "model_path": str(tiny_model()),
        "ui_label": "Custom",
        "url_path": "custom",
        "requires_safety_checker": False,
    }
    settings = make_settings(custom_models=[custom], enable_public_token=True)
    services = build_services(settings, lambda: engine)
    services.start()
    yield create_app(settings, services).test_client()
    assert services.stop(timeout=60)


def posted(client: FlaskClient, engine: Recording, path: str, **form: Any) -> tuple[JobSpec, list[dict[str, Any]]]:
    answer = client.post(path, data={"prompt": "a dog", **form})
    assert answer.status_code == 200, answer.get_json()
    return engine.specs[-1], answer.get_json()["images"]


def test_every_field_of_a_form(client: FlaskClient, engine: Recording) -> None:
    spec, images = posted(
        client,
        engine,
        "/masking",
        prompt="  a dog ",
        negative_prompt="a cat",
        num_inference_steps="20",
        guidance_scale="3",
        scheduler="ddim",
        eta="0.5",
        clip_skip="2",
        safety_checker="0",
        init_image=IMAGE,
        mask_image=MASK,
        inpaint_area="masked",
        context="16",
        region="0,0,64,64",
        extend="0,0,8,0",
        fill="border",
        mask_blur="1",
        mask_grow="-2",
        mask_invert="true",
        seam="3",
        output="patch",
        depth="source",
        strength="0.5",
        seed="5",
        num_outputs="2",
    )
    made = spec.operation
    assert isinstance(made, Inpaint)
    assert made.mask is not None
    assert (made.prompt, made.negative_prompt, made.steps, made.guidance) == ("a dog", "a cat", 20, 3.0)
    assert (made.scheduler, made.eta, made.clip_skip, made.safety_filter) == ("ddim", 0.5, 2, False)
    assert (made.strength, made.image.size, made.mask.size) == (0.5, (64, 72), (8, 8))
    assert (made.inpaint_area, made.context, made.rectangle) == ("masked", 16, (0, 0, 64, 64))
    assert (made.size, made.fill, made.mask_blur, made.mask_grow) == ((72, 72), "border", 1, -2)
    assert (made.mask_invert, made.seam, made.output, made.depth) == (True, 3, "patch", "source")
    assert (spec.model, spec.seeds, spec.variation_seeds) == (None, (5, 6), ())
    assert [(image["offset"], image["canvas"]) for image in images] == [PLACED] * 2


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63, 2**64 - 1])
def test_large_seeds_are_used_and_reported_to_the_last_digit(client: FlaskClient, engine: Recording, seed: int) -> None:
    spec, (image,) = posted(client, engine, "/txt2img", seed=str(seed))
    assert (spec.seeds, image["seed"]) == ((seed,), seed)
    used = used_by(client, seed=seed, variation_seed=seed, variation_strength=0.5)
    assert (engine.specs[-1].seeds, engine.specs[-1].variation_seeds) == ((seed,), (seed,))
    assert (used["seed"], used["variation_seed"]) == (seed, seed)


def test_seeds_below_zero_are_chosen(client: FlaskClient, engine: Recording) -> None:
    spec, _ = posted(
        client, engine, "/txt2img", seed="-1", num_outputs="3", variation_seed="-1", variation_strength="1"
    )
    assert len(set(spec.variation_seeds)) == 3
    assert all(0 < seed < 2**53 for seed in (*spec.seeds, *spec.variation_seeds))
    used = used_by(client, seed=-1, variation_seed=-1)
    assert used["seed"] > 0
    assert used["variation_seed"] is None


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_a_prompt_may_be_empty(client: FlaskClient, engine: Recording, prompt: str) -> None:
    assert posted(client, engine, "/txt2img", prompt=prompt)[0].operation.prompt == ""
    assert used_by(client, prompt=prompt)["prompt"] == ""


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("DPM++ 2M Karras", "dpm++-karras"),
        ("k_euler_a", "euler-a"),
        (" lms ", "k-lms"),
        ("KLMS", "k-lms"),
        ("DPM++ SDE", "dpm++-sde"),
        ("dpmpp_2m_sde_gpu", "dpm++-2m-sde"),
        ("PNDMScheduler", "plms"),
        ("DPMSolverMultistep", "dpm++"),
    ],
)
def test_schedulers_have_the_names_of_other_programs(
    client: FlaskClient, engine: Recording, name: str, scheduler: str
) -> None:
    assert posted(client, engine, "/txt2img", scheduler=name)[0].operation.scheduler == scheduler
    assert used_by(client, scheduler=name)["scheduler"] == scheduler


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("/txt2img", "steps", "steps is not known here and was ignored; use num_inference_steps."),
        ("/txt2img", "cfg", "cfg is not known here and was ignored; use guidance_scale."),
        ("/txt2img", "cfgScale", "cfgScale is not known here and was ignored; use guidance_scale."),
        ("/txt2img", "negative", "negative is not known here and was ignored; use negative_prompt."),
        ("/txt2img", "sampler_name", "sampler_name is not known here and was ignored; use scheduler."),
        ("/txt2img", "Seed", "Seed is not known here and was ignored; use seed."),
        ("/txt2img", "hieght", "hieght is not known here and was ignored; perhaps height is meant."),
        ("/txt2img", "mask_image", "mask_image has no effect on txt2img and was ignored; it is for masking."),
        ("/txt2img", "denoise", "denoise is not known here and was ignored; use strength with img2img or masking."),
        ("/txt2img", "zzz", "zzz is not known here and was ignored."),
        ("/txt2img", "<b>", "'<b>' is not known here and was ignored."),
        ("/txt2img", "n" * 99, f"'{'n' * 40}' is not known here and was ignored."),
        ("/img2img", "denoising_strength", "denoising_strength is not known here and was ignored; use strength."),
    ],
)
def test_fields_that_are_ignored_are_named(
    client: FlaskClient, engine: Recording, path: str, field: str, words: str
) -> None:
    form = {field: "20"} | ({"init_image": IMAGE} if path == "/img2img" else {})
    spec, _ = posted(client, engine, path, **form)
    assert spec.warnings == (words,)
    assert spec.operation.steps == 100


def test_programs_with_one_form_for_all_operations_are_not_bothered(client: FlaskClient, engine: Recording) -> None:
    assert posted(client, engine, "/txt2img", strength="0.5")[0].warnings == ()
    assert posted(client, engine, "/img2img", init_image=IMAGE, width="64", height="64")[0].warnings == ()


def test_of_a_great_many_fields_some_are_named(client: FlaskClient, engine: Recording) -> None:
    spec, _ = posted(client, engine, "/txt2img", **{f"x{number}": "" for number in range(900)})
    assert len(spec.warnings) == 21
    assert spec.warnings[-1] == "880 more fields are not known here and were ignored."


def test_known_fields_are_no_warning(client: FlaskClient, engine: Recording) -> None:
    assert posted(client, engine, "/txt2img", job_id="a-name", wait="true", eta="0", width="64")[0].warnings == ()


def test_what_is_left_out_has_the_plugins_defaults(client: FlaskClient, engine: Recording) -> None:
    spec, _ = posted(client, engine, "/txt2img")
    made = spec.operation
    assert isinstance(made, TextToImage)
    assert (made.width, made.height, made.steps, made.guidance) == (512, 512, 100, 7.5)
    assert (made.scheduler, made.eta, made.clip_skip, made.safety_filter) == (None, 0.0, 1, None)
    assert (made.variation_seed, made.variation_strength) == (None, 0.0)
    assert len(spec.seeds) == 1
    strong, _ = posted(client, engine, "/img2img", init_image=IMAGE)
    assert isinstance(strong.operation, ImageToImage)
    assert strong.operation.strength == 0.7


def test_an_edit(client: FlaskClient, engine: Recording) -> None:
    spec, _ = posted(client, engine, "/edit", init_image=IMAGE)
    assert isinstance(spec.operation, Edit)
    assert (spec.operation.image_guidance, spec.size) == (1.5, (64, 72))
    spec, _ = posted(client, engine, "/edit", init_image=IMAGE, image_guidance_scale="2")
    assert isinstance(spec.operation, Edit)
    assert spec.operation.image_guidance == 2.0


@pytest.mark.parametrize(
    ("form", "operation"),
    [
        ({}, TextToImage),
        ({"init_image": IMAGE}, ImageToImage),
        ({"init_image": IMAGE, "mask_image": MASK}, Inpaint),
        ({"init_image": IMAGE, "image_guidance_scale": "2"}, Edit),
    ],
)
def test_a_custom_models_fields_tell_its_operation(
    client: FlaskClient, engine: Recording, form: dict[str, str], operation: type
) -> None:
    spec, _ = posted(client, engine, "/custom/custom", **form)
    assert (type(spec.operation), spec.model) == (operation, "custom")


@pytest.mark.parametrize(
    ("path", "image", "body"),
    [
        ("/custom/custom", "init_image", "data"),
        ("/masking", "init_image", "data"),
        ("/sdapi/v1/img2img", "init_images", "json"),
        ("/v1/images/edits", "image", "json"),
    ],
)
def test_an_image_is_extended_without_a_mask_in_every_dialect(
    client: FlaskClient, engine: Recording, path: str, image: str, body: str
) -> None:
    # The engine's empty pictures are none that A1111's answer could hold.
    client.post(path, **{body: {"prompt": "a dog", image: IMAGE, "extend": "0,0,8,0"}})
    made = engine.specs[-1].operation
    assert isinstance(made, Inpaint)
    assert (made.mask, made.size) == (None, (72, 72))


@pytest.mark.parametrize(("path", "image"), [("/sdapi/v1/img2img", "init_images"), ("/v1/images/edits", "image")])
def test_a_client_that_always_sends_extend_changes_whole_images(
    client: FlaskClient, engine: Recording, path: str, image: str
) -> None:
    client.post(path, json={"prompt": "a dog", image: IMAGE, "extend": "0,0,0,0"})
    assert type(engine.specs[-1].operation) is ImageToImage


def test_references_in_whichever_form_they_are_sent(client: FlaskClient, engine: Recording) -> None:
    said = {"image": MASK, "adapter": "plus", "weight": 0.5, "end": 0.75}
    forms: dict[str, list[Any]] = {
        "/txt2img": [json.dumps([IMAGE, said]), [IMAGE, json.dumps(said)], [json.dumps([IMAGE]), json.dumps([said])]],
        "/sdapi/v1/txt2img": [[IMAGE, said]],
    }
    for path, several in forms.items():
        for references in several:
            body = {"prompt": "a dog", "references": references}
            # The engine's empty pictures are none that A1111's answer could hold.
            client.post(path, **({"data": body} if path == "/txt2img" else {"json": body}))
            first, second = engine.specs[-1].operation.references
            assert (first.image.size, first.adapter, first.weight, first.start, first.end) == ((64, 72), None, 1, 0, 1)
            assert (second.image.size, second.adapter, second.weight, second.end) == ((8, 8), "plus", 0.5, 0.75)
            assert str(second).startswith("plus ")


def test_further_images_of_an_openai_edit_are_references(client: FlaskClient, engine: Recording) -> None:
    files = [(io.BytesIO(base64.b64decode(image)), "image.png") for image in (IMAGE, MASK, MASK)]
    references = json.dumps({"image": f"data:image/png;base64,{MASK}", "weight": 0.5})
    body = {"prompt": "a dog", "size": "128x128", "image[]": files, "references": references}
    answer = client.post("/v1/images/edits", data=body, content_type="multipart/form-data")
    assert answer.status_code == 200, answer.get_json()
    operation = engine.specs[-1].operation
    assert (operation.size, [each.image.size for each in operation.references]) == ((128, 128), [(8, 8)] * 3)
    assert [each.weight for each in operation.references] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("references", "field", "words"),
    [
        ('["nonsense"]', "references.0.image", "is no"),
        (f'[{{"image": "{MASK}", "weight": 5}}]', "references.0.weight", "from 0 to 2"),
        (f'["{MASK}", {{"image": "{MASK}", "wait": 1}}]', "references.1.wait", "not known"),
        (f'{{"image": "{MASK}", "start": 0.8, "end": 0.2}}', "references.0.start", "at most end"),
        ('[{"weight": 1}]', "references.0.image", "is missing"),
        ("[1", "references", "no valid JSON"),
        ("[" * 5000, "references", "more than 1000 values"),
        (json.dumps([MASK] * 11), "references", "at most 10"),
        ("[null, 3]", "references.0.image", ""),
    ],
)
def test_faulty_references_are_named(client: FlaskClient, references: str, field: str, words: str) -> None:
    answer = client.post("/txt2img", data={"prompt": "a dog", "references": references})
    assert answer.status_code in (400, 413, 422)
    said = answer.get_json()
    assert said["message"].startswith(f"{field} ") or said["message"].startswith(f"{field}:")
    assert words in said["message"]


def test_variations_are_reported_with_both_seeds(client: FlaskClient, engine: Recording) -> None:
    spec, images = posted(client, engine, "/txt2img", num_outputs="3", variation_strength="0.2")
    assert len(set(spec.seeds)) == 1
    assert len(set(spec.variation_seeds)) == 3
    assert [(image["seed"], image["variation_seed"]) for image in images] == [
        (picture.seed, picture.variation) for picture in spec.pictures
    ]
    reported = {name: images[2][name] for name in ("seed", "variation_seed")}
    again, _ = posted(client, engine, "/txt2img", variation_strength="0.2", **reported)
    assert again.pictures == spec.pictures[2:]


def test_without_variations_no_variation_seed_is_reported(client: FlaskClient, engine: Recording) -> None:
    _, (image,) = posted(client, engine, "/txt2img", variation_seed="9")
    assert "variation_seed" not in image


SOMETIMES = {"start": 0.25, "end": 0.75, "resize": "crop", "kind": "canny", "mode": "control"}


def test_a_task_of_every_field(client: FlaskClient, engine: Recording) -> None:
    ann = TaskClient(client)
    image, mask = ann.upload(png(photograph(64, 72))), ann.upload(png(photograph(8, 8)))
    parameters = {
        "prompt": "a dog",
        "negative_prompt": "a cat",
        "model_provider": "local",
        "model_id": "custom",
        "steps": 20,
        "guidance": 3,
        "scheduler": "ddim",
        "eta": 0.5,
        "clip_skip": 2,
        "safety_filter": False,
        "initial_image": image,
        "mask": mask,
        "inpaint_area": "masked",
        "context": 16,
        "region": "0,0,64,64",
        "extend": "0,0,8,0",
        "fill": "border",
        "mask_blur": 1,
        "mask_grow": -2,
        "mask_invert": True,
        "seam": 3,
        "refine": 0.2,
        "output": "patch",
        "depth": "source",
        "strength": 0.5,
        "seed": 5,
        "num_outputs": 2,
        "variation_seed": 7,
        "variation_strength": 0.25,
        "prompt_syntax": "plain",
        "loras": "{}",
        "vae": "ours",
        "true_cfg_scale": 2.0,
        "references": [{"image": mask, "adapter": "plus", "weight": 0.5, "start": 0.25, "end": 0.75}],
        "controls": [{"model": "lines", "image": mask, "preprocessor": "canny", "weight": 0.5, **SOMETIMES}],
    }
    images = finished(ann, ann.create(**parameters))
    spec = engine.specs[-1]
    made = spec.operation
    assert isinstance(made, Inpaint)
    assert made.mask is not None
    assert (made.prompt, made.negative_prompt, made.steps, made.guidance) == ("a dog", "a cat", 20, 3.0)
    assert (made.scheduler, made.eta, made.clip_skip, made.safety_filter) == ("ddim", 0.5, 2, False)
    assert (made.strength, made.image.size, made.mask.size) == (0.5, (64, 72), (8, 8))
    assert (made.inpaint_area, made.context, made.rectangle) == ("masked", 16, (0, 0, 64, 64))
    assert (made.size, made.fill, made.mask_blur, made.mask_grow) == ((72, 72), "border", 1, -2)
    assert (made.mask_invert, made.seam, made.refine) == (True, 3, 0.2)
    assert (made.output, made.depth) == ("patch", "source")
    assert (spec.model, spec.seeds, spec.variation_seeds) == ("custom", (5, 5), (7, 8))
    assert [(image["offset"], image["canvas"]) for image in images] == [PLACED] * 2
    used = [each["parameters_used"] for each in images]
    assert used[0] == parameters | {"task_type": "inpaint"}
    assert used[1] == used[0] | {"variation_seed": 8}


def test_a_tasks_open_seeds_are_chosen_once(client: FlaskClient, engine: Recording) -> None:
    ann = TaskClient(client)
    (image,) = finished(ann, ann.create(prompt="a dog", variation_strength=0.1))
    used = image["parameters_used"]
    (picture,) = engine.specs[-1].pictures
    assert (used["seed"], used["variation_seed"]) == (picture.seed, picture.variation)
    finished(ann, ann.create(**used))
    assert engine.specs[-1].pictures == (picture,)


@pytest.mark.parametrize("kind", [{"task_type": "edit"}, {"image_guidance": 2.0}])
def test_a_task_that_edits(client: FlaskClient, engine: Recording, kind: dict[str, Any]) -> None:
    ann = TaskClient(client)
    image = ann.upload(png(photograph(64, 72)))
    (made,) = finished(ann, ann.create(prompt="make it winter", initial_image=image, **kind))
    operation = engine.specs[-1].operation
    assert isinstance(operation, Edit)
    assert made["parameters_used"]["task_type"] == "edit"
    assert made["parameters_used"]["image_guidance"] == operation.image_guidance == kind.get("image_guidance", 1.5)


def finished(ann: TaskClient, task_id: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while (event := ann.event(task_id))["event_type"] != "finished":
        assert event["event_type"] != "cancelled", event
        assert time.monotonic() < deadline
        time.sleep(0.01)
    images: list[dict[str, Any]] = event["images"]
    return images


def used_by(client: FlaskClient, **parameters: Any) -> dict[str, Any]:
    """The parameters_used of a task."""
    ann = TaskClient(client)
    used: dict[str, Any] = finished(ann, ann.create(**{"prompt": "a dog", **parameters}))[0]["parameters_used"]
    return used
