"""ControlNets for transformers: which transformer a class is made for, and how a single file is built."""

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

import diffusers
import torch
from diffusers import ZImageControlNetModel

from sd_api.models.adapters.adapter_cache import UnfitError


def transformer_of(class_name: str) -> type:
    """The transformer that a class of ControlNets in ``OF_TRANSFORMERS`` is made for."""
    made: type = getattr(diffusers, class_name.replace("ControlNetModel", "Transformer2DModel"))
    return made


def net_config(kind: type, transformer: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How a ControlNet in a single file is built: as the transformer, and as its own tensors say.

    Args:
        kind: Its class.
        transformer: The configuration of the model's.
        tensors: With the names of diffusers.

    Raises:
        UnfitError: It does not follow from them.
    """
    known = signature(kind).parameters
    if kind is ZImageControlNetModel:
        return {name: transformer[name] for name in known if name in transformer} | _of_z_image(transformer, tensors)
    channels = transformer["in_channels"]
    config = {name: transformer[name] for name in known if name in transformer} | {
        "num_layers": _count(tensors, "transformer_blocks"),
        "num_single_layers": _count(tensors, "single_transformer_blocks"),
        "guidance_embeds": any(name.startswith("time_text_embed.guidance_embedder.") for name in tensors),
        "use_pos_embed": "pos_embed.proj.weight" in tensors,
        # The published ones without places of their own were trained with what the model itself is given.
        "force_zeros_for_pooled_projection": "pos_embed.proj.weight" in tensors,
        "dual_attention_layers": _numbers(
            name for name in tensors if name.startswith("transformer_blocks.") and ".attn2." in name
        ),
    }
    if "controlnet_mode_embedder.weight" in tensors:
        config["num_mode"] = tensors["controlnet_mode_embedder.weight"].shape[0]
    if "input_hint_block.conv_in.weight" in tensors:
        config |= {"conditioning_embedding_channels": channels // 4, "patch_size": 2}
    if "context_embedder.weight" not in tensors and "joint_attention_dim" in known:
        config["joint_attention_dim"] = transformer["joint_attention_dim"] if "txt_in.weight" in tensors else None
    if "extra_condition_channels" in known:
        config["extra_condition_channels"] = tensors["controlnet_x_embedder.weight"].shape[1] - channels
    if "extra_conditioning_channels" in known:
        config["extra_conditioning_channels"] = tensors["pos_embed_input.proj.weight"].shape[1] - channels
    return {name: value for name, value in config.items() if name in known}


def _of_z_image(transformer: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What a ControlNet for Z-Image has of its own.

    All that are published act on layers at even distances, of which the first is the transformer's first.

    Raises:
        UnfitError: Its layers cannot be spread so.
    """
    layers, own = transformer["n_layers"], _count(tensors, "control_layers")
    if layers % own:
        raise UnfitError(
            f"its {own} layers are no share of the {layers} of this model; use it as a folder of diffusers"
        )
    (patch,) = transformer["all_patch_size"]
    (embedder,) = (name for name in tensors if name.startswith("control_all_x_embedder.") and name.endswith(".weight"))
    refiner = "control_noise_refiner.0.before_proj.weight"
    # Where it was not trained, the first layers act in its place.
    trained = refiner in tensors and bool(tensors[refiner].any())
    of_its_own = refiner not in tensors and "control_noise_refiner.0.attention.to_q.weight" in tensors
    return {
        "control_layers_places": list(range(0, layers, layers // own)),
        "control_in_dim": tensors[embedder].shape[1] // patch**2,
        "control_refiner_layers_places": None if of_its_own else list(range(transformer["n_refiner_layers"])),
        "add_control_noise_refiner": (None if of_its_own else "control_noise_refiner" if trained else "control_layers"),
    }


def _count(tensors: Mapping[str, torch.Tensor], blocks: str) -> int:
    return len(_numbers(name for name in tensors if name.startswith(f"{blocks}.")))


def _numbers(names: Iterable[str]) -> tuple[int, ...]:
    """The numbers of the blocks that tensors are in."""
    return tuple(sorted({int(name.split(".")[1]) for name in names}))
