"""The parameters text, read back the way that other tools read it."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd_api.generation.metadata import parameters_text
from sd_api.generation.request import GenerationRequest
from sd_api.settings import Limits


def text_of(model: str = "sd-v1-5", **changes: Any) -> str:
    values: dict[str, Any] = {
        "prompt": "a dog",
        "seeds": (7,),
        "width": 512,
        "height": 640,
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "limits": Limits(),
    }
    return parameters_text(GenerationRequest(**values | changes), seed=7, scheduler="plms", model=model)


def pairs_of(text: str) -> dict[str, str]:
    """The last line's pairs, by the pattern that the format's readers use."""
    found = re.findall(r'\s*([\w ]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', text.splitlines()[-1])
    return {key: value for key, value in found}  # noqa: C416 - the types say what it is


def test_everything_that_makes_the_picture_is_there() -> None:
    init = Image.new("RGB", (512, 640))
    text = text_of(negative_prompt="cat", init_image=init, strength=1 / 3, guidance_scale=7.0, eta=0.5)
    assert text.splitlines()[:2] == ["a dog", "Negative prompt: cat"]
    pairs = pairs_of(text)
    assert pairs.pop("Version").startswith("sd-api-server ")
    assert pairs == {
        "Steps": "20",
        "Sampler": "plms",
        "CFG scale": "7",
        "Seed": "7",
        "Size": "512x640",
        "Model": "sd-v1-5",
        "Denoising strength": "0.3333333333333333",
        "Eta": "0.5",
    }


def test_what_does_not_act_is_not_there() -> None:
    text = text_of()
    assert len(text.splitlines()) == 2
    assert "Denoising strength" not in text
    assert "Eta" not in text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_a_models_name_cannot_end_its_value_early(name: str) -> None:
    value = pairs_of(text_of(model=name))["Model"]
    if value.startswith('"') and value.endswith('"') and len(value) > 1 and value != name:
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    assert value.strip() == name.strip()
