"""Smaller weights: what quantised folders need, and how weights are quantised while they are loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from sd_api.errors import ModelUnavailable
from sd_api.models.bounded_files import read_object
from sd_api.models.extras import missing_extra

Quantization = Literal["none", "fp8", "int8", "nf4"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)

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
        ModelUnavailable: its method is not known, or the package that reads it is not installed.
    """
    method = quantization_of(folder)
    if method is None:
        return
    if (package := _PACKAGES_OF_METHODS.get(method)) is None:
        known = ", ".join(dict.fromkeys(_PACKAGES_OF_METHODS.values()))
        raise ModelUnavailable(f"{folder} is quantised by {method[:40]!r}; this server reads weights of {known}.")
    if reason := missing_extra(package):
        raise ModelUnavailable(f"{folder}: {reason}.")


def refuse_missing(quantize: Quantization | None) -> None:
    """Refuse a setting whose package is not installed.

    Raises:
        ModelUnavailable: with the command that installs it.
    """
    package = _PACKAGES_OF_KINDS.get(quantize or "none")
    if package is not None and (reason := missing_extra(package)):
        raise ModelUnavailable(f'"quantize": "{quantize}": {reason}.')


def loading_config(quantize: Quantization | None, dtype: torch.dtype) -> Any:
    """The configuration by which diffusers quantises a denoiser while it is loaded; None where it does not.

    Args:
        quantize: What is asked for.
        dtype: The precision of the arithmetic.
    """
    if quantize == "int8":
        from diffusers import TorchAoConfig
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    if quantize == "nf4":
        from diffusers import BitsAndBytesConfig

        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return None


def store_in_fp8(module: Any, dtype: torch.dtype) -> None:
    """Keep the weights of a denoiser in fp8; each layer computes in ``dtype`` (diffusers' layerwise casting)."""
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
