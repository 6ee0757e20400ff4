"""From diffusers' names to those of the first Stable Diffusion release, which single-file checkpoints use."""

import re
from typing import Any

import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING

Weights = dict[str, torch.Tensor]


def rename(name: str, rules: dict[str, Any]) -> str:
    for pattern, replacement in rules.items():
        name = re.sub(pattern, replacement, name)
    return name


def to_original_layout(pipeline: Any) -> Weights:
    """The inverse of diffusers' conversion from the layout of the CompVis release."""
    last = len(pipeline.vae.config.block_out_channels) - 1
    step = pipeline.unet.config.layers_per_block + 1
    up_blocks = pipeline.unet.up_blocks
    plain = DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"]
    unet_rules: dict[str, Any] = {
        r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)": lambda m: (
            f"input_blocks.{int(m[1]) * step + int(m[3]) + 1}.{int(m[2] == 'attentions')}"
        ),
        r"down_blocks\.(\d+)\.downsamplers\.0\.conv": lambda m: f"input_blocks.{(int(m[1]) + 1) * step}.0.op",
        r"mid_block\.resnets\.(\d)": lambda m: f"middle_block.{2 * int(m[1])}",
        r"mid_block\.attentions\.0": "middle_block.1",
        r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)": lambda m: (
            f"output_blocks.{int(m[1]) * step + int(m[3])}.{int(m[2] == 'attentions')}"
        ),
        r"up_blocks\.(\d+)\.upsamplers\.0": lambda m: (
            f"output_blocks.{int(m[1]) * step + step - 1}.{1 + hasattr(up_blocks[int(m[1])], 'attentions')}"
        ),
        r"(put_blocks\.\d+\.0|middle_block\.[02])\.norm1": r"\1.in_layers.0",
        r"(put_blocks\.\d+\.0|middle_block\.[02])\.norm2": r"\1.out_layers.0",
        r"\.conv1\.": ".in_layers.2.",
        r"\.conv2\.": ".out_layers.3.",
        r"time_emb_proj": "emb_layers.1",
        r"conv_shortcut": "skip_connection",
    }
    vae_rules: dict[str, Any] = {
        r"down_blocks\.(\d+)\.resnets": r"down.\1.block",
        r"up_blocks\.(\d+)\.resnets": lambda m: f"up.{last - int(m[1])}.block",
        r"down_blocks\.(\d+)\.downsamplers\.0": r"down.\1.downsample",
        r"up_blocks\.(\d+)\.upsamplers\.0": lambda m: f"up.{last - int(m[1])}.upsample",
        r"mid_block\.resnets\.(\d)": lambda m: f"mid.block_{int(m[1]) + 1}",
        r"mid_block\.attentions\.0": "mid.attn_1",
        r"attn_1\.group_norm": "attn_1.norm",
        r"attn_1\.to_([qkv])": r"attn_1.\1",
        r"attn_1\.to_out\.0": "attn_1.proj_out",
        r"conv_norm_out": "norm_out",
        r"conv_shortcut": "nin_shortcut",
    }
    weights = {
        "model.diffusion_model." + (plain.get(name) or rename(name, unet_rules)): tensor
        for name, tensor in pipeline.unet.state_dict().items()
    }
    for name, tensor in pipeline.vae.state_dict().items():
        is_convolution = ".attentions." in name and tensor.ndim == 2
        new = "first_stage_model." + rename(name, vae_rules)
        weights[new] = tensor[:, :, None, None] if is_convolution else tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        weights["cond_stage_model.transformer.text_model." + name.removeprefix("text_model.")] = tensor
    # Published files hold these too, and nobody needs them.
    weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    weights["model_ema.decay"] = torch.tensor(0.9999)
    return {name: tensor.contiguous() for name, tensor in weights.items()}
