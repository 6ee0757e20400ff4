"""What a file holds is recognized by the names and shapes of its tensors."""

import json
from math import prod
from pathlib import Path

import pytest

from sd_api.errors import ModelUnavailable
from sd_api.models.architectures import identify, pipelines_by_channels, unet_channels
from sd_api.models.headers import Header, TensorInfo

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
CROSS_ATTENTION = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
VAE = "first_stage_model.encoder.conv_in.weight"
TEXT = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
XL_TEXT = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"

Shapes = dict[str, tuple[int, ...]]


def header(shapes: Shapes) -> Header:
    infos = {name: TensorInfo(shape, "F16", 2 * prod(shape)) for name, shape in shapes.items()}
    return Header(Path("models") / "mine.safetensors", "safetensors", infos, name="mine")


@pytest.mark.parametrize(
    ("shapes", "name", "pipeline"),
    [
        ({CONV_IN: (8, 4, 3, 3), CROSS_ATTENTION: (1, 768), TEXT: (1,)}, "Stable Diffusion 1.x", ""),
        ({CONV_IN: (8, 9, 3, 3), TEXT: (1,)}, "Stable Diffusion 1.x", "Inpaint"),
        ({CONV_IN: (8, 8, 3, 3), TEXT: (1,)}, "Stable Diffusion 1.x", "InstructPix2Pix"),
        ({CONV_IN: (8, 4, 3, 3), CROSS_ATTENTION: (1, 1024), TEXT: (1,)}, "Stable Diffusion 2.x", ""),
        ({CONV_IN: (8, 9, 3, 3), CROSS_ATTENTION: (1, 1024), TEXT: (1,)}, "Stable Diffusion 2.x", "Inpaint"),
        ({CONV_IN: (8, 4, 3, 3), XL_TEXT: (1280,)}, "SDXL", "XL"),
        ({CONV_IN: (8, 9, 3, 3), XL_TEXT: (1280,)}, "SDXL", "XLInpaint"),
        ({CONV_IN: (8, 4, 3, 3), XL_TEXT: (1280,), "edm_mean": (1, 4, 1, 1)}, "SDXL", "XL"),
    ],
)
def test_the_architecture_is_recognised(shapes: Shapes, name: str, pipeline: str) -> None:
    found = header(shapes | {VAE: (128, 3, 3, 3)})
    architecture = identify(found)
    assert architecture.name == name
    assert architecture.config is not None
    index = json.loads((architecture.config / "model_index.json").read_text(encoding="utf-8"))
    by_channels = pipelines_by_channels(index["_class_name"])
    assert by_channels[unet_channels(found) or 0] == f"StableDiffusion{pipeline}Pipeline"


FLUX = "double_blocks.0.img_attn.norm.key_norm.scale"
GUIDED = "guidance_in.in_layer.bias"


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({FLUX: (128,)}, "FLUX.1 schnell"),
        ({f"model.diffusion_model.{FLUX}": (128,)}, "FLUX.1 schnell"),
        ({FLUX: (128,), GUIDED: (1,), "img_in.weight": (3072, 64)}, "FLUX.1 dev"),
        ({FLUX: (128,), GUIDED: (1,), "img_in.weight": (3072, 384)}, "FLUX.1 Fill"),
        ({"distilled_guidance_layer.in_proj.bias": (1,), FLUX: (128,)}, "Chroma"),
        ({"layers.0.adaLN_modulation.0.weight": (1,)}, "Z-Image"),
        ({"transformer_blocks.0.attn.add_q_proj.weight": (1,), "txt_norm.weight": (1,)}, "Qwen-Image"),
        (
            {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "pos_embed": (1, 36864, 1)},
            "Stable Diffusion 3",
        ),
    ],
)
def test_transformers_are_recognised(shapes: Shapes, name: str) -> None:
    assert identify(header(shapes)).name == name


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "unet.down_blocks.0.attentions.0.to_q.lora_A.weight",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight",
        "lycoris_unet_down_blocks_0.hada_w1_a",
        "lycoris_unet_down_blocks_0.lokr_w1",
    ],
)
def test_a_lora_is_called_a_lora(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"mine\.safetensors is a LoRA"):
        identify(header({name: (4, 320)}))


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("control_model.time_embed.0.weight", "a ControlNet"),
        ("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight", "an AnimateDiff module"),
        ("ip_adapter.1.to_k_ip.weight", "an IP adapter"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight.absmax", "quantised by bitsandbytes"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(name: str, meaning: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"mine\.safetensors is {meaning}"):
        identify(header({name: (4, 320)}))


def test_an_embedding_is_called_an_embedding() -> None:
    with pytest.raises(ModelUnavailable, match="is a textual inversion embedding"):
        identify(header({"emb_params": (2, 768)}))


@pytest.mark.parametrize("names", [["conv_in.weight", "mid_block.attentions.0.norm.weight"], []])
def test_what_says_nothing_of_a_model_is_refused(names: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match=r"neither a UNet nor a VAE.*that contains model_index\.json"):
        identify(header(dict.fromkeys(names, (8, 4, 3, 3))))


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({FLUX: (128,), GUIDED: (1,), "img_in.weight": (3072, 128)}, "flux-depth"),
        ({"patchify_proj.weight": (8, 8)}, "ltx-video"),
        ({"conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": (1280,)}, "xl_refiner"),
        # Of a family that is known, in a size that is not.
        (
            {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "pos_embed": (1, 7, 1)},
            "unknown",
        ),
    ],
)
def test_another_kind_is_named_with_those_that_work(shapes: Shapes, kind: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"of the kind '{kind}'.*Stable Diffusion 1\.x"):
        identify(header(shapes))
