"""Memory: how much a card has, telling lack of it from other errors, freeing it."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from psutil import virtual_memory

from sd_api.errors import OutOfMemory
from sd_api.generation.engine import DeviceMemory

# torch has a class of its own only for CUDA; on the other devices the text is all there is.
OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Invalid buffer size",
    "STATUS_ALLOC_FAILED",
    # oneDNN's way on the CPU.
    "could not create a primitive",
    "could not create a memory",
    "bad_alloc",
)


def memory_of(device: torch.device) -> DeviceMemory | None:
    """The memory of a graphics card; None where the device shares the host's, or where it does not answer."""
    if device.type not in ("cuda", "xpu"):
        return None
    try:
        free, total = getattr(torch, device.type).mem_get_info(device)
    except RuntimeError:
        # The running job has already failed with the cause.
        return None
    return DeviceMemory(total=total, free=free)


def room_of(device: torch.device) -> int:
    """The bytes that new tensors may take while everything else stays where it is."""
    if (memory := memory_of(device)) is None:
        return int(virtual_memory().available)
    library = getattr(torch, device.type)
    return int(memory.free + library.memory_reserved(device) - library.memory_allocated(device))


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is one of the ways in which devices say that their memory is full."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)


@contextmanager
def out_of_memory_as_ours() -> Iterator[None]:
    """Translate every way in which a device says that its memory is full into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            reason = str(error).strip().splitlines()[:1]
            # The frames of its trace keep the very tensors alive that have to go.
            traceback.clear_frames(error.__traceback__)
            raise OutOfMemory(" ".join(["Out of memory.", *reason])) from None
        raise


def free_memory() -> None:
    """Give back what no tensor uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    elif torch.xpu.is_available():
        torch.xpu.empty_cache()
