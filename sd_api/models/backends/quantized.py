"""Weights in fewer bits: stored as fp8 by diffusers, quantized by torchao and bitsandbytes while they are loaded."""

from typing import Any

import torch

from sd_api.errors import ModelUnavailable
from sd_api.models.extras import missing_extra
from sd_api.models.memory_values import MemoryPlan

# The library that makes each kind of weights.
LIBRARIES = {"int8": "torchao", "nf4": "bitsandbytes"}


def installed_quantizers() -> frozenset[str]:
    """What the installed libraries can make of weights, of ``int8`` and ``nf4``."""
    return frozenset(kind for kind, library in LIBRARIES.items() if missing_extra(library) is None)


def require_quantizer(quantization: str, kind: str, *, single_file: bool) -> None:
    """Check that what the configuration says of weights can be done here.

    Args:
        quantization: as configured.
        kind: of the device, see ``Machine``.
        single_file: whether the model is one file.

    Raises:
        ModelUnavailable: with what to do.
    """
    if quantization == "fp8" and kind == "mps":
        raise ModelUnavailable('"quantize": "fp8" is not possible on Apple GPUs, which have no fp8')
    if quantization == "nf4" and kind in ("cpu", "mps"):
        raise ModelUnavailable('"quantize": "nf4" needs a graphics card of its own memory, and runs on none other')
    if quantization in LIBRARIES and single_file:
        raise ModelUnavailable(
            f'"quantize": "{quantization}" needs a model in the diffusers format, and this is a single file, which '
            "can be stored as none or fp8"
        )
    if quantization in LIBRARIES and (reason := missing_extra(LIBRARIES[quantization])):
        raise ModelUnavailable(f'"quantize": "{quantization}": {reason}')


def quantization_configs(plan: MemoryPlan, dtype: torch.dtype) -> dict[str, Any]:
    """What the ``from_pretrained`` of each component is given that is quantized while it is loaded, by its name.

    Args:
        plan: of the model.
        dtype: of the arithmetic.
    """
    if plan.quantization not in LIBRARIES:
        return {}
    import diffusers
    import transformers

    def config(library: Any) -> Any:
        if plan.quantization == "nf4":
            return library.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        from torchao.quantization import Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig(version=2))

    libraries = {name: transformers if name.startswith("text_encoder") else diffusers for name in plan.quantized}
    return {name: config(library) for name, library in libraries.items()}


def store_in_fp8(pipeline: Any, plan: MemoryPlan, dtype: torch.dtype) -> None:
    """Store the weights of a loaded pipeline's components in fp8 where the plan says so; they compute as before."""
    if plan.quantization == "fp8":
        for name in plan.quantized:
            pipeline.components[name].enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
