"""Which kernel computes a model's attention: the names are those of diffusers' dispatcher, which calls it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from diffusers.models.attention_dispatch import attention_backend

from sd_api.errors import ModelUnavailable
from sd_api.models.device import HALF_PRECISIONS, DeviceChoice

Asked = Literal["own", "dispatched", "masked"]
"""How a denoiser has its attention computed: by a call of torch's function in its ``own`` code, or by diffusers'
dispatcher, with a mask of words (``masked``) or without any."""

NATIVE = "native"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What a kernel needs.

    Attributes:
        kinds: of devices, see ``DeviceChoice.kind``.
        half: whether it computes in half precision only.
        masks: whether it takes masks.
        capability: the compute capability of the only NVIDIA cards that have it; None for all.
    """

    kinds: tuple[str, ...] = ("cuda", "rocm")
    half: bool = True
    masks: bool = False
    capability: int | None = None


_EVERYWHERE = ("cuda", "rocm", "xpu", "mps", "cpu")
KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        NATIVE: Kernel(kinds=_EVERYWHERE, half=False, masks=True),
        "_native_math": Kernel(kinds=_EVERYWHERE, half=False, masks=True),
        "_native_flash": Kernel(),
        "_native_efficient": Kernel(half=False, masks=True),
        "_native_cudnn": Kernel(kinds=("cuda",), masks=True),
        "flash": Kernel(),
        "_flash_3": Kernel(kinds=("cuda",), capability=9),
        "sage": Kernel(kinds=("cuda",)),
        "xformers": Kernel(half=False, masks=True),
    }
)

# FlashAttention 3 is exact, and made for the instructions of Hopper's cards, which version 2 within torch does not use
# (arXiv:2407.08608). The others gain nothing over what torch chooses by itself, or round to 8 bits (sage).
_FASTER = "_flash_3"


def choose_attention(wish: str, asked: Asked, device: DeviceChoice) -> tuple[str, str]:
    """Choose the kernel for a model's attention.

    Args:
        wish: what the configuration says of the model: ``auto`` or one of ``KERNELS``.
        asked: how the model has its attention computed.
        device: where it runs, and in which precision.

    Returns:
        The kernel, and why it is the one, in a short sentence.

    Raises:
        ModelUnavailable: the configuration names one that cannot be had here, or not for this model.
    """
    if wish != "auto":
        if reason := _why_not(wish, asked, device):
            known = ", ".join(name for name in KERNELS if _why_not(name, asked, device) is None)
            raise ModelUnavailable(f'"attention": "{wish}" is not possible: {reason}. Valid here are auto, {known}.')
        return wish, f'"attention": "{wish}" is configured'
    if _why_not(_FASTER, asked, device) is None:
        return _FASTER, "FlashAttention 3 is installed, exact, and made for this card"
    return NATIVE, "attention by the fastest exact kernel that torch has for this device"


def use_attention(pipeline: Any, kernel: str) -> None:
    """Have the networks of a pipeline that ask diffusers' dispatcher compute attention with a kernel."""
    # It also makes the kernel that of all other models of the process, which the context takes back.
    with attention_backend(NATIVE):
        for part in pipeline.components.values():
            if _dispatches(part):
                part.set_attention_backend(kernel)


def _dispatches(part: Any) -> bool:
    return hasattr(part, "set_attention_backend") and any(
        hasattr(getattr(module, "processor", None), "_attention_backend") for module in part.modules()
    )


def _why_not(name: str, asked: Asked, device: DeviceChoice) -> str | None:
    """Why a kernel is not possible, as the end of a sentence; None where it is."""
    kernel = KERNELS[name]
    if asked == "own" and name != NATIVE:
        return "this model calls torch's attention itself"
    if asked == "masked" and not kernel.masks:
        return "it takes no masks, and this model masks words"
    if device.kind not in kernel.kinds:
        return f"it does not run on {device.kind}, but on {', '.join(kernel.kinds)}"
    if kernel.half and device.torch_dtype not in HALF_PRECISIONS:
        return f"it computes in fp16 and bf16 only, and this model runs in {device.dtype}"
    if kernel.capability is not None and torch.cuda.get_device_capability(device.device)[0] != kernel.capability:
        return f"it is made for cards of compute capability {kernel.capability}.x alone"
    try:
        # This looks for the packages, and for their versions.
        with attention_backend(name):
            return None
    except RuntimeError as error:
        return str(error).rstrip(".")
