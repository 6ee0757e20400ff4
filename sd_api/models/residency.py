"""Which models are on the device: where its memory gets short, the least recently used one goes to the host's.

From there it comes back in a fraction of the time that loading takes.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import DiffusionPipeline

from sd_api.models.memory import free_memory, is_out_of_memory

log = logging.getLogger(__name__)

# Bytes that stay free for what a model computes with: a batch of Stable Diffusion 1 at 512 x 512 in fp16.
WORKING_MEMORY = 2 * 2**30


class Residency:
    """Moves models between the host and one device.

    Args:
        device: where they run.
        free_bytes: tells how much memory the device has left; None where host and device share theirs, and nothing
            is gained by moving.
    """

    def __init__(self, device: torch.device, free_bytes: Callable[[], int] | None) -> None:
        self._device = device
        self._free_bytes = free_bytes
        # In the order in which they were used, the latest last.
        self._resident: list[DiffusionPipeline] = []

    def use(self, pipeline: DiffusionPipeline) -> None:
        """Have a model on the device, and others there only as far as there is room.

        Raises:
            torch.OutOfMemoryError: it does not even fit alone.
        """
        if pipeline not in self._resident:
            self._make_room(size_of(pipeline) + WORKING_MEMORY)
            self._move_in(pipeline)
        # At once, because other threads look.
        self._resident = [*(other for other in self._resident if other is not pipeline), pipeline]

    def has(self, pipeline: DiffusionPipeline) -> bool:
        """Whether a model is on the device."""
        return pipeline in self._resident

    def forget(self, pipeline: DiffusionPipeline) -> None:
        """Take note that a model is not used any more, so that its memory can be freed."""
        if pipeline in self._resident:
            self._resident.remove(pipeline)
            free_memory()

    def keep_only(self, pipeline: DiffusionPipeline) -> bool:
        """Move all others away, because one needs the memory.

        Returns:
            Whether that gained anything: there were others, and the host has room for them.
        """
        others = [resident for resident in self._resident if resident is not pipeline]
        if self._free_bytes is None or not others:
            return False
        try:
            for other in others:
                self._move_out(other)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("The host's memory is full as well")
            return False
        return True

    def _make_room(self, needed: int) -> None:
        if self._free_bytes is None:
            return
        if self._free_bytes() < needed:
            # What torch keeps of earlier pictures counts as used.
            free_memory()
        while self._resident and self._free_bytes() < needed:
            self._move_out(self._resident[0])

    def _move_in(self, pipeline: DiffusionPipeline) -> None:
        try:
            pipeline.to(self._device)
        except Exception as error:
            # Half a model there is of no use, and its memory is needed to try again.
            _move_to_host(pipeline)
            if not is_out_of_memory(error) or not self.keep_only(pipeline):
                raise
            self._move_in(pipeline)

    def _move_out(self, pipeline: DiffusionPipeline) -> None:
        log.info("Moving a model of %.1f GB to the host's memory to make room", size_of(pipeline) / 1e9)
        # First, so that it is brought back whole where this breaks down half-way.
        self._resident = [other for other in self._resident if other is not pipeline]
        _move_to_host(pipeline)
        free_memory()


def size_of(pipeline: DiffusionPipeline) -> int:
    """The bytes of a model's weights."""
    modules = [module for _, module in _modules(pipeline)]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum(tensor.nbytes for tensor in tensors)


def free_bytes_of(device: torch.device) -> Callable[[], int] | None:
    """How to ask a device for its free memory; None for those that share the host's."""
    return (lambda: int(torch.cuda.mem_get_info(device)[0])) if device.type == "cuda" else None


def _move_to_host(pipeline: DiffusionPipeline) -> None:
    for name, module in _modules(pipeline):
        # Other models may use this one's safety checker.
        if name != "safety_checker":
            module.to("cpu")


def _modules(pipeline: DiffusionPipeline) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module))
