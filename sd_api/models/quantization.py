"""Smaller weights: what quantised folders need, and how weights are quantised while they are loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import read_object
from sd_api.models.extras import missing_extra

Quantization = Literal["none", "fp8", "int8", "nf4"]

# The values of quant_method in a part's configuration, and the packages that read them.
_PACKAGES_OF_METHODS: Mapping[str, str] = {
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "torchao": "torchao",
    "gguf": "gguf",
}
# The packages that quantise weights while they are loaded.
_PACKAGES_OF_KINDS: Mapping[str, str] = {"int8": "torchao", "nf4": "bitsandbytes"}


def quantization_of(folder: Path) -> str | None:
    """The method by which the weights in a part's folder are quantised; None where they are not."""
    config = folder / "config.json"
    found = read_object(config).get("quantization_config") if config.is_file() else None
    return str(found.get("quant_method") or "unknown") if isinstance(found, dict) else None


def refuse_unreadable(folder: Path) -> None:
    """Refuse a quantised part that cannot be read here.

    Raises:
        ModelUnavailable: its method is not known, or the package or the device that it needs is not here.
    """
    method = quantization_of(folder)
    if method is None:
        return
    if (package := _PACKAGES_OF_METHODS.get(method)) is None:
        known = ", ".join(dict.fromkeys(_PACKAGES_OF_METHODS.values()))
        raise ModelUnavailable(f"{folder} is quantised by {shown(method, 40)!r}; this server reads weights of {known}.")
    if reason := _why_unusable(package):
        raise ModelUnavailable(f"{folder}: {reason}.")


def refuse_missing(quantize: Quantization | None) -> None:
    """Refuse a setting that cannot be kept here.

    Raises:
        ModelUnavailable: the package or the device that it needs is not here.
    """
    package = _PACKAGES_OF_KINDS.get(quantize or "none")
    if package is not None and (reason := _why_unusable(package)):
        raise ModelUnavailable(f'"quantize": "{quantize}": {reason}.')


def _why_unusable(package: str) -> str | None:
    if reason := missing_extra(package):
        return reason
    if package == "bitsandbytes" and not torch.cuda.is_available():
        return "weights quantised by bitsandbytes need a graphics card of NVIDIA or AMD, and there is none"
    return None


def loading_config(quantize: Quantization | None, dtype: torch.dtype) -> Any:
    """The configuration by which diffusers quantises a denoiser while it is loaded; None where it does not.

    Args:
        quantize: What is asked for.
        dtype: The precision of the arithmetic.
    """
    if quantize != "nf4":
        return None
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def quantise(module: Any, quantize: Quantization, dtype: torch.dtype) -> None:
    """Make the weights of a denoiser smaller after it was loaded, as far as that is not done while it is.

    Args:
        module: The denoiser.
        quantize: What is asked for.
        dtype: The precision of the arithmetic.
    """
    if quantize == "fp8":
        # Each layer computes in dtype: diffusers' layerwise casting.
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    elif quantize == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(module, Int8WeightOnlyConfig())
