"""Tiny random ControlNets and T2I adapters, as folders of diffusers and as single files."""

import re
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
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


def save_single(module: Any, path: Path, *, original: bool = False) -> Path:
    """Write the weights alone, with diffusers' names or with those of the formats' authors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    if original:
        name_of = _of_adapter if isinstance(module, T2IAdapter) else _of_net
        weights = {name_of(name): tensor for name, tensor in weights.items()}
    save_file(weights, path)
    return path


_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"}
_RESNET |= {"time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}


def _of_net(name: str) -> str:
    """The name of a tensor in the first ControlNets, which have one layer in each block here."""
    part, _, rest = name.partition(".")
    number, _, rest_of_block = rest.partition(".")
    if part == "time_embedding":
        return f"control_model.time_embed.{2 * (int(number[-1]) - 1)}.{rest_of_block}"
    if part == "controlnet_down_blocks":
        return f"control_model.zero_convs.{number}.0.{rest_of_block}"
    if part == "controlnet_mid_block":
        return f"control_model.middle_block_out.0.{rest}"
    if part == "conv_in":
        return f"control_model.input_blocks.0.0.{rest}"
    if part == "controlnet_cond_embedding":
        ends = {"conv_in": 0, "conv_out": 14}
        place = ends.get(number)
        if place is None:
            block, _, rest_of_block = rest_of_block.partition(".")
            place = 2 * (int(block) + 1)
        return f"control_model.input_hint_block.{place}.{rest_of_block}"
    if part == "mid_block":
        kind, at, tensor = rest.split(".", 2)
        place = 1 if kind == "attentions" else 2 * int(at)
        return f"control_model.middle_block.{place}.{_of_resnet(kind, tensor)}"
    kind, _, tensor = rest_of_block.split(".", 2)
    first = 1 + 2 * int(number)
    if kind == "downsamplers":
        return f"control_model.input_blocks.{first + 1}.0.{tensor.replace('conv', 'op')}"
    return f"control_model.input_blocks.{first}.{int(kind == 'attentions')}.{_of_resnet(kind, tensor)}"


def _of_resnet(kind: str, tensor: str) -> str:
    layer, _, rest = tensor.partition(".")
    return f"{_RESNET[layer]}.{rest}" if kind == "resnets" else tensor


def _of_adapter(name: str) -> str:
    """The name of a tensor in the first T2I adapters, whose levels of two blocks are numbered through."""
    name = name.removeprefix("adapter.")
    if (match := re.fullmatch(r"body\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", name)) is None:
        return name
    return f"body.{2 * int(match[1]) + int(match[2] or 0)}.{match[3]}"


def transformer_net(transformer: Any, gain: float = 1.0, **changes: Any) -> Any:
    """A ControlNet of one block for a transformer; ``gain`` sets apart several."""
    kind = getattr(diffusers, type(transformer).__name__.replace("Transformer2DModel", "ControlNetModel"))
    known = signature(kind).parameters
    config = {name: value for name, value in transformer.config.items() if name in known}
    if "control_layers_places" in known:
        config |= {"control_layers_places": [0], "control_in_dim": transformer.config.in_channels}
    made = kind(**config | {name: 1 for name in ("num_layers", "num_single_layers") if name in known} | changes)
    return filled(made, {"controlnet_x_embedder": 3.0 * gain, "pos_embed_input": 3.0 * gain, "_blocks": gain})
