"""The tensors of LoRAs' files as diffusers loads them into a pipeline, whichever program wrote them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)

from sd_api.models.adapters.lora_layouts import KOHYA, Tensors, count_layers, is_of_kohya, scaled, with_components
from sd_api.models.adapters.lycoris import Pair, factors_of, is_lycoris
from sd_api.models.architectures import UNET_PREFIX

_COMFY = "diffusion_model."


def tensors_for(
    tensors: Tensors, metadata: Mapping[str, str], host: Any, denoiser: str, most: int
) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors of a file, and how many layers of the model they change.

    Args:
        tensors: Those of a file.
        metadata: What its header says.
        host: The pipeline that loads them.
        denoiser: The name of its denoiser.
        most: See ``factors_of``.

    Raises:
        ValueError: What is in the file is not read, or not of this model.
    """
    module = getattr(host, denoiser)
    tensors = with_components(tensors, denoiser, module)
    rewritten = is_lycoris(tensors) or (denoiser == "unet" and is_of_kohya(tensors))
    if rewritten:
        factors = factors_of(tensors, most)
        tensors = _of_unet(factors, host) if denoiser == "unet" else _of_paths(factors, denoiser, module)
    else:
        tensors = scaled(tensors, metadata)
    if rewritten or denoiser == "unet":
        return tensors, count_layers(tensors)
    # As ComfyUI has its name of the denoiser, which ``WeightFile`` has changed.
    tensors = {name.replace(UNET_PREFIX, _COMFY, 1): tensor for name, tensor in tensors.items()}
    return tensors, _converted_layers(tensors, host, denoiser, module)


def _of_unet(factors: Mapping[str, Pair], host: Any) -> dict[str, torch.Tensor]:
    """With the names of diffusers, which knows those of other programs for a UNet."""
    plain: dict[str, torch.Tensor] = {}
    for layer, (up, down) in factors.items():
        names = ("lora_up", "lora_down") if layer.startswith(KOHYA) else ("lora_B", "lora_A")
        plain |= {f"{layer}.{name}.weight": factor for name, factor in zip(names, (up, down), strict=True)}
    named, _ = host.lora_state_dict(plain, unet_config=host.unet.config)
    of_unet = {name.removeprefix("unet."): tensor for name, tensor in named.items() if name.startswith("unet.")}
    others = {name: tensor for name, tensor in named.items() if not name.startswith("unet.")}
    found = convert_unet_state_dict_to_peft(of_unet)
    # Without this, attention is left out where the projection of its output is not changed.
    shaped = {f"unet.{name}": _shaped(name, tensor, host.unet) for name, tensor in found.items()}
    of_encoders = convert_state_dict_to_peft(others, original_type=StateDictType.DIFFUSERS_OLD)
    # The projection behind the encoder has a name of its own there.
    for old, new in {".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}.items():
        of_encoders = {name.replace(old, new): tensor for name, tensor in of_encoders.items()}
    return shaped | dict(of_encoders)


def _of_paths(factors: Mapping[str, Pair], denoiser: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """With the paths of the modules, which stand there with dots or without."""
    paths = {path.replace(".", "_"): path for path, _ in module.named_modules()}
    found: dict[str, torch.Tensor] = {}
    for layer, (up, down) in factors.items():
        path = paths.get(layer.removeprefix(KOHYA[0]).removeprefix(f"{denoiser}.").replace(".", "_"))
        if path is None:
            raise ValueError(f"this model has no layer {layer}")
        found |= {f"{denoiser}.{path}.lora_A.weight": down, f"{denoiser}.{path}.lora_B.weight": up}
    return found


def _shaped(name: str, tensor: torch.Tensor, unet: Any) -> torch.Tensor:
    """One of the factors as the module has it that it changes: convolutions have a kernel, of which one has 1 x 1."""
    module_name, _, factor = name.removesuffix(".weight").rpartition(".")
    try:
        weight = unet.get_submodule(module_name).weight
    except AttributeError:
        raise ValueError(f"this model has no layer {module_name}") from None
    if weight.ndim != 4:
        return tensor
    if factor == "lora_B":
        return tensor[:, :, None, None]
    if tensor.shape[1] != weight[0].numel():
        raise ValueError(f"its layer {module_name} has {tensor.shape[1]} inputs, and this model's {weight[0].numel()}")
    return tensor.reshape(-1, *weight.shape[1:])


def _converted_layers(tensors: Tensors, host: Any, denoiser: str, module: torch.nn.Module) -> int:
    """How many layers diffusers makes of those of a transformer's LoRA; one of theirs may be several of its own.

    Raises:
        ValueError: It would leave some out in silence, or change the model itself.
    """
    try:
        converted = _converted(tensors, host)
    except ValueError as error:
        # Whose names come in lines of their own.
        raise ValueError(" ".join(str(error).split())) from None
    for name, tensor in converted.items():
        path, found, _ = name.removeprefix(f"{denoiser}.").partition(".lora_A.")
        if "lora" not in name and not name.endswith("alpha"):
            raise ValueError(f"it has {name[:100]}, which is not read")
        inputs = getattr(_submodule(module, path), "in_features", None) if found else None
        if inputs is not None and tensor.shape[1] > inputs:
            raise ValueError(f"its layer {path[:100]} has {tensor.shape[1]} inputs, and this model's {inputs}")
    for layer, own in _layers(tensors):
        try:
            left_out = not _converted(own, host)
        except Exception:  # noqa: S112 - some formats are converted as a whole only, which fails in many ways
            continue
        if left_out:
            raise ValueError(f"its layer {layer[:100]} is not read")
    return count_layers(converted)


def _converted(tensors: Tensors, host: Any) -> dict[str, torch.Tensor]:
    found = host.lora_state_dict(dict(tensors))
    return dict(found[0] if isinstance(found, tuple) else found)


def _submodule(module: torch.nn.Module, path: str) -> Any:
    """The layer of a path, without what PEFT has put around it; None where there is none."""
    try:
        found: Any = module.get_submodule(path)
    except AttributeError:
        return None
    return getattr(found, "base_layer", found)


def _layers(tensors: Tensors) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """The tensors of each layer that kohya's scripts or ComfyUI have named."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith((*KOHYA, _COMFY)):
            layer = name.removesuffix(".weight").rpartition(".")[0]
            layers.setdefault(layer, {})[name] = tensor
    yield from layers.items()
