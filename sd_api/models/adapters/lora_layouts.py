"""How programs name the layers of LoRAs, and what scales them.

Kohya's scripts and their relatives write paths without dots behind a prefix, with a scale (``alpha``) for each layer;
diffusers and PEFT write the modules' own paths, with the scales in the metadata. ComfyUI and LyCORIS alone differ from
kohya's in the prefix.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from sd_api.models.architectures import UNET_PREFIX

Tensors = Mapping[str, torch.Tensor]

KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
"""What kohya's scripts and LyCORIS begin the names of layers with."""

# What others begin them with, and what that is in kohya's.
_LIKE_KOHYA = {
    "lycoris_": "lora_unet_",
    # As ``WeightFile`` has ComfyUI's own name of the denoiser.
    UNET_PREFIX: "lora_unet_",
    "text_encoders.clip_l.transformer.": "lora_te1_",
    "text_encoders.clip_g.transformer.": "lora_te2_",
}

# What PEFT puts before the paths of a model that it changes.
_PEFT = "base_model.model."

# diffusers' names of the text encoders.
_ENCODERS = ("text_encoder", "text_encoder_2")

# diffusers' key in the metadata: JSON with the settings of PEFT for each component.
_SETTINGS = "lora_adapter_metadata"

# A layer's two factors, in all of these formats.
_FACTOR = re.compile(r"(.+[._])lora_?(?:embedding_|linear_layer\.)?[._]?(?:(A|down)|(?:B|up))(?:\.weight)?")


def is_of_kohya(names: Iterable[str]) -> bool:
    """Whether a file names its layers as kohya's scripts do, which diffusers reads only in part."""
    return any(name.startswith((*KOHYA, *_LIKE_KOHYA)) for name in names)


def with_kohyas_prefixes(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors of a file with kohya's names of layers, where it has those of a relative."""
    return {_kohyas(name): tensor for name, tensor in tensors.items()}


def _kohyas(name: str) -> str:
    for other, prefix in _LIKE_KOHYA.items():
        if name.startswith(other):
            layer, dot, of_layer = name.removesuffix(".weight").removeprefix(other).rpartition(".")
            suffix = ".weight" if name.endswith(".weight") else ""
            return f"{prefix}{layer.replace('.', '_')}{dot}{of_layer}{suffix}"
    return name


def with_components(tensors: Tensors, denoiser: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a file with the names of components before the modules' paths, as diffusers writes them.

    Args:
        tensors: Those of a file.
        denoiser: The name of the component whose paths stand without one.
        module: That component.
    """
    own = {name for name, _ in module.named_children()}

    def full(name: str) -> str:
        path = name.replace(_PEFT, "")
        first = path.partition(".")[0]
        if first in own:
            return f"{denoiser}.{path}"
        # Other names of layers behind PEFT's prefix are known to diffusers with it.
        return path if first in (denoiser, *_ENCODERS) else name

    return {full(name): tensor for name, tensor in tensors.items()}


def scaled(tensors: Tensors, metadata: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The same with the scales that diffusers' metadata has multiplied in, which it reads from files alone.

    Raises:
        ValueError: The metadata cannot be read.
    """
    if _SETTINGS not in metadata:
        return dict(tensors)
    try:
        settings = json.loads(metadata[_SETTINGS])
        return {name: tensor * _scale(name, tensors, settings) for name, tensor in tensors.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ValueError(f"its metadata {_SETTINGS} cannot be read") from None


def _scale(name: str, tensors: Tensors, settings: Mapping[str, Any]) -> float:
    """What the second factor of a layer is multiplied with; 1 for all other tensors."""
    path, found, _ = name.partition(".lora_B.")
    component, _, layer = path.partition(".")
    usual = settings.get(f"{component}.lora_alpha")
    if not found or usual is None:
        return 1.0
    rank = tensors[f"{path}.lora_A.weight"].shape[0]
    several = (settings.get(f"{component}.alpha_pattern") or {}).items()
    own = (alpha for end, alpha in several if f".{layer}".endswith(f".{end.removeprefix('^')}"))
    alpha = float(next(own, usual))
    return alpha / (rank**0.5 if settings.get(f"{component}.use_rslora") else rank)


def count_layers(names: Iterable[str]) -> int:
    """How many layers the factors of these names are of.

    Raises:
        ValueError: A layer lacks one of its two.
    """
    factors = [match for name in names if (match := _FACTOR.fullmatch(name)) is not None]
    first, second = ({match[1] for match in factors if (match[2] is not None) == which} for which in (True, False))
    if first != second:
        raise ValueError("a layer of it lacks one of its two weights")
    return len(first)
