"""What a file holds is told from the names and shapes of its tensors."""

from pathlib import Path

import pytest
import torch

from sd_api.errors import ModelUnavailable
from sd_api.models.architectures import identify

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
CROSS_ATTENTION = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
VAE = "first_stage_model.encoder.conv_in.weight"
TEXT = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
XL_TEXT = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"
PATH = Path("models") / "mine.safetensors"

Shapes = dict[str, tuple[int, ...]]


def tensors(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("shapes", "name", "needs_hub"),
    [
        (
            {CONV_IN: (8, 4, 3, 3), CROSS_ATTENTION: (1, 768), TEXT: (1,)},
            "Stable Diffusion 1.x",
            False,
        ),
        ({CONV_IN: (8, 9, 3, 3), TEXT: (1,)}, "Stable Diffusion 1.x inpainting", False),
        ({CONV_IN: (8, 4, 3, 3), CROSS_ATTENTION: (1, 1024), TEXT: (1,)}, "Stable Diffusion 2.x", True),
        (
            {CONV_IN: (8, 9, 3, 3), CROSS_ATTENTION: (1, 1024), TEXT: (1,)},
            "Stable Diffusion 2.x inpainting",
            True,
        ),
        ({CONV_IN: (8, 4, 3, 3), XL_TEXT: (1280,)}, "SDXL", True),
        ({CONV_IN: (8, 9, 3, 3), XL_TEXT: (1280,)}, "SDXL inpainting", True),
    ],
)
def test_the_architecture_is_recognised(shapes: Shapes, name: str, needs_hub: bool) -> None:
    architecture = identify(PATH, tensors(shapes | {VAE: (128, 3, 3, 3)}))
    assert architecture.name == name
    assert architecture.unet_channels == shapes[CONV_IN][1]
    assert (architecture.repo_id is not None) is needs_hub


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
        identify(PATH, tensors({name: (4, 320)}))


def test_an_embedding_is_called_an_embedding() -> None:
    with pytest.raises(ModelUnavailable, match="is a textual inversion embedding"):
        identify(PATH, tensors({"emb_params": (2, 768)}))


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        ([CONV_IN, TEXT], "lacks the VAE"),
        ([CONV_IN, VAE], "lacks the text encoder"),
        ([CONV_IN], "lacks the VAE and the text encoder"),
        ([VAE, TEXT], "lacks the UNet"),
        (
            ["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"],
            r"that contains model_index\.json",
        ),
        ([], "neither a UNet nor a VAE nor a text encoder"),
    ],
)
def test_a_part_of_a_model_says_what_it_lacks(names: list[str], lacks: str) -> None:
    with pytest.raises(ModelUnavailable, match=lacks):
        identify(PATH, tensors(dict.fromkeys(names, (8, 4, 3, 3))))


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"control_model.time_embed.0.weight": (1280, 320)}, "controlnet"),
        ({CONV_IN: (8, 8, 3, 3)}, "instruct-pix2pix"),
        ({"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "flux-schnell"),
        # Of a family that is known, in a size that is not.
        (
            {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,), "pos_embed": (1, 7, 1)},
            "unknown",
        ),
    ],
)
def test_another_kind_is_named_with_those_that_work(shapes: Shapes, kind: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"of the kind '{kind}'.*Stable Diffusion 1\.x"):
        identify(PATH, tensors(shapes))
