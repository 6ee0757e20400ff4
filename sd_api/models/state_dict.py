"""Reads the tensors of a model file. A file may come from anywhere, so no code in it is run."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sd_api.models.architectures import UNET_PREFIX, is_bare_unet
from sd_api.models.files import find_faults
from sd_api.models.headers import SCALED_MARK, SCALES, Header, read_header
from sd_api.models.pickled import unreadable, without_pickles
from sd_api.models.quantization import refuse_whole_numbers
from sd_api.models.sources import ModelFile

# Some tools for merging models omit a level from the names of the text encoder's tensors.
_SHORT, _FULL = "cond_stage_model.transformer.", "cond_stage_model.transformer.text_model."

# What programs put before the names of all tensors when they save a model inside of another object.
_WRAPPERS = ("state_dict.", "module.", "_orig_mod.")
# What stands before all names where a part of a pipeline is saved as its attribute.
_PARTS = ("transformer.", "unet.")
# What ComfyUI calls a denoiser that it saves alone.
_DENOISER = "diffusion_model."

# What ComfyUI writes beside fp8 weights and their factors, and is of no use here.
_OTHER_SCALES = (".scale_input", ".input_scale", ".comfy_quant")


class WeightFile:
    """A file of weights, by the names that its publishers gave them.

    Args:
        path: a file in one of the formats of ``weight_formats``.

    Attributes:
        header: What it says before its tensors are read; with the names that ``tensors`` has.

    Raises:
        ModelUnavailable: the file is damaged, or contains Python code.
    """

    def __init__(self, path: Path) -> None:
        source = ModelFile(path)
        if faults := find_faults(source):
            raise unreadable(path, faults[0].removeprefix(f"{path}: "))
        self._path = path
        plain = read_header(without_pickles(source).path, path.stem)
        refuse_whole_numbers(path, plain)
        bare = is_bare_unet(plain.tensors)
        part = next((part for part in _PARTS if all(name.startswith(part) for name in plain.tensors)), "")
        self._names = {name: _full_name(name.removeprefix(part), bare=bare) for name in plain.tensors}
        tensors = {self._names[name]: info for name, info in plain.tensors.items()}
        self.header = Header(path, plain.format, tensors, plain.metadata, plain.name)
        self._readable = plain.path

    def read(self, name: str) -> torch.Tensor:
        """One tensor, by its name in ``header``."""
        original = next(mine for mine, full in self._names.items() if full == name)
        with safe_open(self._readable, "pt") as weights:
            found: torch.Tensor = weights.get_tensor(original)
            return found

    def tensors(self) -> dict[str, Any]:
        """All tensors. Those of safetensors are memory-mapped, so that they take memory only once they are used.

        Raises:
            ModelUnavailable: the file holds what this version of torch has no type for.
        """
        try:
            found = _unscaled(self._load())
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise unreadable(self._path, f"{type(error).__name__}: {error}") from None
        return {self._names[name]: tensor for name, tensor in found.items()}

    def _load(self) -> dict[str, Any]:
        if self.header.format == "gguf":
            from diffusers.models.model_loading_utils import load_gguf_checkpoint

            loaded: dict[str, Any] = load_gguf_checkpoint(self._readable)
            return loaded
        return load_file(self._readable)


def _full_name(name: str, *, bare: bool) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    if name.startswith(_DENOISER):
        name = UNET_PREFIX + name.removeprefix(_DENOISER)
    while name.startswith(UNET_PREFIX * 2):
        name = name.removeprefix(UNET_PREFIX)
    if bare:
        return UNET_PREFIX + name
    return _FULL + name.removeprefix(_FULL).removeprefix(_SHORT) if name.startswith(_SHORT) else name


def _unscaled(tensors: dict[str, Any]) -> dict[str, Any]:
    """Weights that are scaled to the range of fp8, as they were before; all others as they are."""
    plain = {}
    for name, tensor in tensors.items():
        if name.endswith((*SCALES, *_OTHER_SCALES)) or name.rpartition(".")[2] == SCALED_MARK:
            continue
        stem = name.removesuffix(".weight")
        scale = next((tensors[stem + ending] for ending in SCALES if stem + ending in tensors), None)
        if scale is None or tensor.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2):
            plain[name] = tensor
        else:
            # One for all, or one for each row: any other shape could make a large tensor of two small ones.
            factor = scale.float().reshape(len(tensor) if scale.numel() > 1 else 1, *[1] * (tensor.ndim - 1))
            plain[name] = (tensor.float() * factor).to(torch.bfloat16)
    return plain
