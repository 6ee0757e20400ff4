"""The parameters text, written and read back, also the way that other tools read it."""

import re
from typing import Any

import pytest
from asked import LIMITS, asked
from hypothesis import assume, given
from hypothesis import strategies as st
from requested import request

from sd_api.generation.fields import fields_of
from sd_api.generation.metadata import Parameters, parameters_text, read_parameters
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS, ImageToImage, TextToImage
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.spec import JobSpec

# Characters of one line; the control characters are not for prompts.
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40)


def text_of(operation: Operation, model: str = "sd-v1-5", **job: Any) -> str:
    spec = JobSpec(operation=operation, limits=LIMITS, **{"seeds": (7,), **job})
    return parameters_text(spec, spec.pictures[0], scheduler="plms", model=model)


def drawn(**changes: Any) -> TextToImage:
    values: dict[str, Any] = {"prompt": "a dog", "width": 512, "height": 640, "steps": 20, "guidance": 7.5}
    return TextToImage(**values | changes, limits=LIMITS)


def read(text: str) -> Parameters:
    found = read_parameters(text)
    assert found is not None
    return found


def pairs_of(text: str) -> dict[str, str]:
    """The last line's pairs, by the pattern that the format's readers use."""
    found = re.findall(r'\s*([\w ]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', text.splitlines()[-1])
    return {key: value for key, value in found}  # noqa: C416 - the types say what it is


def test_everything_that_makes_the_picture_is_there() -> None:
    image = asked(ImageToImage).operation
    assert isinstance(image, ImageToImage)
    operation = ImageToImage(
        prompt="a dog",
        negative_prompt="cat",
        steps=20,
        guidance=7.0,
        image=image.image,
        strength=1 / 3,
        eta=0.5,
        limits=LIMITS,
    )
    text = text_of(operation)
    assert text.splitlines()[:2] == ["a dog", "Negative prompt: cat"]
    pairs = pairs_of(text)
    assert pairs.pop("Version").startswith("sd-api-server ")
    assert pairs == {
        "Steps": "20",
        "Sampler": "PLMS",
        "CFG scale": "7",
        "Seed": "7",
        "Size": "70x90",
        "Model": "sd-v1-5",
        "Denoising strength": "0.3333333333333333",
        "Eta": "0.5",
    }


def test_what_does_not_act_is_not_there() -> None:
    text = text_of(drawn())
    assert len(text.splitlines()) == 2
    assert list(pairs_of(text)) == ["Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Version"]


def test_variations_have_both_of_their_seeds() -> None:
    pairs = pairs_of(text_of(drawn(variation_strength=0.25), variation_seeds=(11,)))
    assert (pairs["Seed"], pairs["Variation seed"], pairs["Variation seed strength"]) == ("7", "11", "0.25")


@pytest.mark.parametrize("operation", OPERATIONS.values())
def test_every_field_with_a_key_is_read_back(operation: type[Operation]) -> None:
    spec = asked(operation)
    picture = spec.pictures[1]
    found = read(parameters_text(spec, picture, scheduler="unipc", model="sd-v1-5"))
    expected = {
        field.name: getattr(spec.operation, field.name)
        for field in fields_of(operation)
        # Images are no text.
        if field.param.png_key is not None and field.entry is None
    }
    size = dict(zip(("width", "height"), spec.size, strict=True))
    written = {"prompt": spec.operation.prompt, "scheduler": "unipc", "seed": 7, "variation_seed": 9}
    regions = None if spec.plan.whole else spec.plan.text()
    assert found == Parameters(expected | size | written, "sd-v1-5", regions)


@given(
    st.builds(
        drawn,
        prompt=st.lists(LINE, min_size=1, max_size=3).map("\n".join),
        negative_prompt=st.lists(LINE, max_size=3).map("\n".join),
        steps=st.integers(1, 500),
        guidance=st.floats(0, 100),
        eta=st.floats(0, 1),
        clip_skip=st.integers(1, 12),
    )
)
def test_any_text_and_any_number_is_read_back(operation: TextToImage) -> None:
    # The format has no way to tell such a line of a prompt from the negative prompt.
    assume(not any(line.startswith("Negative prompt: ") for line in operation.negative_prompt.split("\n")))
    found = read(text_of(operation)).fields
    for name in ("prompt", "negative_prompt", "steps", "guidance", "width", "height"):
        assert found[name] == getattr(operation, name)
    assert found.get("eta", 0.0) == operation.eta
    assert found.get("clip_skip", 1) == operation.clip_skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_has_the_names_of_other_tools_and_is_read_back(name: str) -> None:
    spec = request("a dog")
    text = parameters_text(spec, spec.pictures[0], scheduler=name, model="a model")
    pairs = pairs_of(text)
    sampler, schedule = pairs["Sampler"], pairs.get("Schedule type")
    assert (f"{sampler} {schedule}" if schedule else sampler) == SCHEDULERS[name].label
    assert read(text).fields["scheduler"] == name


@pytest.mark.parametrize(
    ("pairs", "scheduler"),
    [
        ("Sampler: DPM++ 2M Karras", "dpm++-karras"),
        ("Sampler: DPM++ 2M, Schedule type: Karras", "dpm++-karras"),
        ("Sampler: Euler a, Schedule type: Automatic", "euler-a"),
        ("Sampler: Euler, Schedule type: Exponential", "Euler Exponential"),
        ("Sampler: FlowMatchEulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_the_samplers_of_other_tools_are_read(pairs: str, scheduler: str) -> None:
    fields = read(f"a dog\nSteps: 20, {pairs}, Seed: {2**64 - 1}").fields
    assert (fields["scheduler"], fields["seed"]) == (scheduler, 2**64 - 1)


@given(LINE.filter(lambda name: name.strip() != ""))
def test_a_models_name_cannot_end_its_value_early(name: str) -> None:
    text = text_of(drawn(), model=name)
    assert (read(text).model or "").strip() == name.strip()
    value = pairs_of(text)["Model"]
    if value.startswith('"') and value.endswith('"') and len(value) > 1 and value != name:
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    assert value.strip() == name.strip()


@pytest.mark.parametrize("text", ["", "a dog", "a dog\nmade by somebody", "Steps: 20\nno pairs"])
def test_a_text_of_another_kind_is_none(text: str) -> None:
    assert read_parameters(text) is None


def test_what_is_no_number_is_left_out() -> None:
    found = read("a dog\nSteps: many, CFG scale: x, Seed: 5, Size: 64x, Sampler: Euler a, Foreign: 7")
    assert found.fields == {"prompt": "a dog", "negative_prompt": "", "seed": 5, "scheduler": "euler-a"}
    assert found.model is None


@pytest.mark.parametrize("prompt", ["a dog\nNegative prompt: cat", "a dog\nSteps: 20, Seed: 1", "Negative prompt: cat"])
@pytest.mark.parametrize("negative", ["", "mouse", "mouse\nNegative prompt: rat"])
def test_a_prompt_with_lines_of_the_format_is_read_back(prompt: str, negative: str) -> None:
    spec = request(prompt, negative_prompt=negative)
    read = read_parameters(parameters_text(spec, spec.pictures[0], scheduler="ddim", model="a model"))
    assert read is not None
    # A line of the negative prompt that begins as the format's own is joined to the one before it.
    assert (read.fields["prompt"], read.fields["negative_prompt"]) == (prompt, negative.replace("\n", " "))
