"""Which device to run on and in which precision, each with the reason for it."""

import platform
from dataclasses import dataclass

import torch

from sd_api.errors import ConfigurationError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
HALF_PRECISIONS = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class DeviceChoice:
    """Where the models run.

    Attributes:
        device: for example ``cuda:0``.
        device_reason: why this one, for the log.
        dtype: ``fp32``, ``fp16`` or ``bf16``.
        dtype_reason: why this one, for the log.
    """

    device: torch.device
    device_reason: str
    dtype: str
    dtype_reason: str

    @property
    def kind(self) -> str:
        """What it is: ``cuda``, ``rocm``, ``xpu``, ``mps`` or ``cpu``; torch calls an AMD card ``cuda`` as well."""
        return "rocm" if self.device.type == "cuda" and torch.version.hip else self.device.type

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch knows it."""
        return DTYPES[self.dtype]


def choose_device(device: str, dtype: str) -> DeviceChoice:
    """Choose what ``"auto"`` leaves open.

    Args:
        device: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``, ``xpu`` or ``xpu:N``; AMD's cards are ``cuda``.
        dtype: ``auto``, ``fp32``, ``fp16`` or ``bf16``.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    if device == "auto":
        chosen, device_reason = _best_device()
    else:
        _check_available(device)
        # The index tells one of several cards from the others in the log.
        chosen, device_reason = torch.device(f"{device}:0" if device in ("cuda", "xpu") else device), "as configured"
    if dtype == "auto":
        dtype, dtype_reason = _best_dtype(chosen)
    else:
        dtype_reason = "as configured"
    return DeviceChoice(chosen, device_reason, dtype, dtype_reason)


def _best_device() -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        return torch.device("cuda:0"), f"found {torch.cuda.get_device_name(0)}"
    if torch.xpu.is_available():
        return torch.device("xpu:0"), f"found {torch.xpu.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "found an Apple GPU"
    if torch.version.hip is not None:
        return torch.device("cpu"), "found no AMD GPU that this ROCm build of torch knows"
    if torch.version.xpu is not None:
        return torch.device("cpu"), "found no Intel GPU that this XPU build of torch knows"
    if torch.version.cuda is None:
        return torch.device("cpu"), "this build of torch has no CUDA, no ROCm and no XPU, and there is no Apple GPU"
    return torch.device("cpu"), "found no NVIDIA GPU and no Apple GPU"


def _check_available(device: str) -> None:
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigurationError(["device: mps needs a Mac with Apple silicon; use auto or cpu here."])
    if device.startswith("xpu"):
        count = torch.xpu.device_count()
        if int(device.partition(":")[2] or 0) >= count:
            raise ConfigurationError(
                [
                    f"device: there is no {device}; torch {torch.__version__} finds {count} Intel GPUs here. "
                    "Use auto or cpu."
                ]
            )
    if device.startswith("cuda"):
        if torch.version.cuda is None and torch.version.hip is None:
            raise ConfigurationError(
                [
                    f"device: {device} needs a CUDA or ROCm build of torch, and the installed torch "
                    f"{torch.__version__} has neither; see the installation part of README.md, or use auto or cpu."
                ]
            )
        count = torch.cuda.device_count()
        if int(device.partition(":")[2] or 0) >= count:
            none = f"no {'AMD' if torch.version.hip else 'NVIDIA'} GPU"
            names = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))
            raise ConfigurationError([f"device: there is no {device}; this machine has {names or none}."])


def _best_dtype(device: torch.device) -> tuple[str, str]:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if "GTX 16" in name:
            # Known fault of this series, e.g. AUTOMATIC1111/stable-diffusion-webui wiki, "--no-half".
            return "fp32", f"half precision gives black pictures on the {name}"
        return "fp16", f"fast and half the memory on {'AMD' if torch.version.hip else 'NVIDIA'} GPUs"
    if device.type == "xpu":
        return "fp16", "fast and half the memory on Intel GPUs"
    if device.type == "mps":
        # pytorch/pytorch#96602 and its kin: attention in half precision turns to nan at some sizes.
        return "fp32", "half precision gives black pictures on some Apple GPUs"
    capabilities = torch.cpu.get_capabilities()
    native = [name for name in ("amx_bf16", "avx512_bf16", "bf16") if capabilities.get(name)]
    # Apple's own processors know bf16 instructions, but torch has no fast kernels for them there.
    if native and platform.system() != "Darwin":
        return "bf16", f"this processor computes it natively ({native[0]})"
    return "fp32", "this processor has no native bf16"
