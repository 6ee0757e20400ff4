"""Parts that are in order by themselves and cannot draw together are refused before the first picture."""

from collections.abc import Callable
from typing import Any

import pytest
from tiny_families import remade
from tiny_pipelines import PIPELINES

from sd_api.errors import ModelUnavailable
from sd_api.models.fitness import refuse_unfit
from sd_api.models.sharing import pipeline_of

# By the family: what is changed of which part, and the part that cannot be used then.
WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("flux", "transformer", {"axes_dims_rope": [4, 4, 6]}, "transformer"),
    ("flux", "transformer", {"pooled_projection_dim": 24}, "transformer"),
    ("stable diffusion 3", "transformer", {"in_channels": 8}, "transformer"),
    ("stable diffusion 3", "transformer", {"joint_attention_dim": 24}, "transformer"),
    ("qwen-image", "transformer", {"axes_dims_rope": (8, 4, 2)}, "transformer"),
    ("lumina 2", "transformer", {"axes_dim_rope": (4, 4, 2)}, "transformer"),
    ("sana", "transformer", {"caption_channels": 16}, "transformer"),
    ("latent consistency", "unet", {"cross_attention_dim": 24}, "unet"),
]


@pytest.mark.parametrize(("name", "part", "changes", "reason"), WRONG)
def test_it_is_refused_by_the_part(name: str, part: str, changes: dict[str, Any], reason: str) -> None:
    pipeline = PIPELINES[name]()
    wrong = pipeline_of(type(pipeline), pipeline, **{part: remade(pipeline.components[part], **changes)})
    with pytest.raises(ModelUnavailable, match=f"here cannot draw: its {reason} cannot be used with the other parts"):
        refuse_unfit(wrong, "here")


def changed_text(config: Any) -> None:
    config.rope_parameters["mrope_section"] = [2, 1, 3]


@pytest.mark.parametrize(("name", "change"), [("qwen-image-edit", changed_text)])
def test_so_is_a_text_encoder(name: str, change: Callable[[Any], None]) -> None:
    pipeline = PIPELINES[name]()
    encoder = pipeline.text_encoder
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    change(config.text_config)
    wrong = pipeline_of(type(pipeline), pipeline, text_encoder=type(encoder)(config))
    with pytest.raises(ModelUnavailable, match="here cannot draw: its text encoders cannot be used"):
        refuse_unfit(wrong, "here")
