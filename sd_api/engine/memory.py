"""Running out of memory: telling it from other errors, and getting the memory back."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sd_api.errors import OutOfMemory

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


@contextmanager
def out_of_memory_as_ours() -> Iterator[None]:
    """Translate every way in which a device says that its memory is full into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
            text in str(error) for text in OUT_OF_MEMORY_TEXTS
        ):
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
