"""Loads a ControlNet or a T2I adapter: a folder of diffusers, or a single file in the formats there are."""

import copy
import re
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers import ControlNetUnionModel, T2IAdapter
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file

from sd_api.models.adapters.adapter_cache import UnfitError
from sd_api.models.adapters.control_files import OF_TRANSFORMERS, WEIGHTS, ControlHeader, header_of
from sd_api.models.adapters.control_transformers import net_config, transformer_of
from sd_api.models.bounded_files import FileFaultError
from sd_api.models.files import find_faults
from sd_api.models.folders import FoundFile
from sd_api.models.part_claims import compare_part
from sd_api.models.pickled import without_pickles
from sd_api.models.quantization import refuse_unreadable
from sd_api.models.sources import ModelFile

_EMBEDDING = "controlnet_cond_embedding."

# T2I adapters in the format of their authors: two residual blocks a level, numbered through.
_ORIGINAL_BLOCK = re.compile(r"body\.(\d+)\.(in_conv|block1|block2)\.(.+)")
_BLOCKS_A_LEVEL = 2


def load_control(file: FoundFile, header: ControlHeader, denoiser: Any, dtype: torch.dtype) -> Any:
    """Load one, on the host.

    Args:
        file: Its file or folder.
        header: What it tells.
        denoiser: The model's UNet or transformer; a single file leaves open how it is built, which is as that is.
        dtype: Of its weights.

    Raises:
        UnfitError: It was made for another architecture, is incomplete, or is something else.
        ModelUnavailable: Its files cannot be read.
    """
    if file.path.is_dir():
        made = _of_folder(file, header, dtype)
    else:
        made = _of_file(file, denoiser)
    if getattr(made, "pos_embed", made) is None:
        # It takes the places that the model itself gives to its latents.
        made.pos_embed = copy.deepcopy(denoiser.pos_embed).cpu()
    return made.to(dtype).eval().requires_grad_(False)


def _of_folder(file: FoundFile, header: ControlHeader, dtype: torch.dtype) -> Any:
    refuse_unreadable(file.path, "diffusers")
    part_class = getattr(diffusers, header.class_name or "")
    try:
        compare_part(part_class, file.path, half=not (file.path / WEIGHTS[0]).is_file())
    except FileFaultError as fault:
        raise UnfitError(str(fault).removeprefix(f"{file.path}/")) from None
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    if not (file.path / WEIGHTS[0]).is_file():
        options["variant"] = "fp16"
    made, info = part_class.from_pretrained(file.path, dtype=dtype, **options)
    _refuse_missing(info["missing_keys"])
    return made


def _refuse_missing(names: Iterable[str]) -> None:
    """Refuse what would run with weights that are not there."""
    if missing := sorted(names):
        raise UnfitError(f"it is incomplete: it lacks {len(missing)} weights, such as {missing[0][:100]}")


def _of_file(file: FoundFile, denoiser: Any) -> Any:
    source = ModelFile(file.path)
    if faults := find_faults(source):
        raise UnfitError(f"its file cannot be used: {faults[0].removeprefix(f'{file.path}: ')}")
    tensors: dict[str, torch.Tensor] = load_file(without_pickles(source).path)
    header = header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if header.problem is not None:
        raise UnfitError(header.problem)
    kind: Any = getattr(diffusers, header.class_name or "")
    if header.class_name is not None and header.class_name in OF_TRANSFORMERS:
        if not issubclass(type(denoiser), transformer_of(header.class_name)):
            raise UnfitError(f"it was made for {header.architecture}")
        config = net_config(kind, denoiser.config, tensors)
    elif kind is T2IAdapter:
        tensors = _in_diffusers_names(tensors)
        config = _adapter_config(tensors)
    else:
        if not isinstance(denoiser.config.get("layers_per_block"), int):
            raise UnfitError("the blocks of this model's UNet differ in their layers, which no ControlNet has")
        tensors = convert_controlnet_checkpoint(tensors, denoiser.config)
        config = _net_config(kind, denoiser.config, tensors)
    # On no device, because the weights are those that are there; what is no weight is made as ever.
    with init_empty_weights():
        made = kind(**config)
    try:
        missing, _ = made.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError:
        raise UnfitError(
            "its weights are not built as this model's denoiser; one that is smaller or larger on purpose can be used "
            "as a folder of diffusers, which has its config.json"
        ) from None
    _refuse_missing(missing)
    return made


def _net_config(kind: type, unet: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How a ControlNet is built: as the UNet, and as its own tensors say."""
    config = {name: unet[name] for name in signature(kind).parameters if name in unet}
    blocks = [name for name in tensors if re.fullmatch(re.escape(_EMBEDDING) + r"blocks\.\d*[13579]\.weight", name)]
    layers = [f"{_EMBEDDING}conv_in.weight", *sorted(blocks, key=lambda name: int(name.split(".")[2]))]
    config["conditioning_embedding_out_channels"] = tuple(tensors[name].shape[0] for name in layers)
    config["conditioning_channels"] = tensors[layers[0]].shape[1]
    config["in_channels"] = tensors["conv_in.weight"].shape[1]
    if kind is ControlNetUnionModel:
        config["num_control_type"], config["num_trans_channel"] = tensors["task_embedding"].shape
        config["num_proj_channel"] = tensors["spatial_ch_projs.weight"].shape[0]
    return config


def _in_diffusers_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if any(name.startswith("adapter.") for name in tensors):
        return dict(tensors)
    return {f"adapter.{_of_original(name)}": tensor for name, tensor in tensors.items()}


def _of_original(name: str) -> str:
    if (match := _ORIGINAL_BLOCK.fullmatch(name)) is None:
        return name
    level, block = divmod(int(match[1]), _BLOCKS_A_LEVEL)
    return f"body.{level}.{'' if match[2] == 'in_conv' else f'resnets.{block}.'}{match[2]}.{match[3]}"


def _adapter_config(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How a T2I adapter is built: those for SDXL join 16 x 16 pixels to one place, the others 8 x 8."""
    first = tensors["adapter.conv_in.weight"].shape[1]
    factor = 16 if first % 256 == 0 else 8
    lasts = [name for name in tensors if re.fullmatch(r"adapter\.body\.\d+\.resnets\.0\.block1\.weight", name)]
    blocks = {name.split(".")[4] for name in tensors if name.startswith("adapter.body.0.resnets.")}
    return {
        "in_channels": first // factor**2,
        "channels": [tensors[name].shape[0] for name in sorted(lasts, key=lambda name: int(name.split(".")[2]))],
        "num_res_blocks": len(blocks),
        "downscale_factor": factor,
        "adapter_type": "full_adapter_xl" if factor == 16 else "full_adapter",
    }
