"""Tiny random ControlNets and T2I adapters, as folders of diffusers and as single files."""

from pathlib import Path
from typing import Any

from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from safetensors.torch import save_file
from tiny_families import filled, remade
from torch import nn

EMBEDDING = (8, 8, 16, 16)


def control_net(unet: Any, gain: float = 1.0, **changes: Any) -> Any:
    """A ControlNet for a UNet; ``gain`` sets apart several."""
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=EMBEDDING, load_weights_from_unet=False)
    if changes:
        made = remade(made, **changes)
    return filled(made, {"controlnet_cond_embedding.conv_in": 3.0 * gain, "controlnet_down_blocks": gain})


def union_net(unet: Any) -> Any:
    """A union ControlNet for a UNet, with the eight kinds of maps."""
    made = ControlNetUnionModel.from_unet(
        unet, conditioning_embedding_out_channels=EMBEDDING, load_weights_from_unet=False
    )
    return filled(
        remade(made, num_control_type=8, addition_time_embed_dim=8, num_trans_channel=32, num_proj_channel=32)
    )


def t2i_adapter(channels: tuple[int, ...] = (32, 32, 64), pixels: int = 3) -> Any:
    """A T2I adapter for the tiny UNets, whose first block makes its output smaller before something is added."""
    made: nn.Module = T2IAdapter(
        in_channels=pixels,
        channels=list(channels),
        num_res_blocks=2,
        downscale_factor=16,
        adapter_type="full_adapter_xl",
    )
    return filled(made)


def save_single(module: Any, path: Path) -> Path:
    """Write the weights alone, with diffusers' names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    return path
