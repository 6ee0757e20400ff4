"""Which components are on the device: where its memory gets short, the least recently used ones go to the host's.

Components are placed one by one, so a model that is larger than the card runs by moving its parts. From the host's
memory a component comes back in a fraction of the time that loading takes.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from diffusers.hooks import apply_group_offloading

from sd_api.models.component import Component
from sd_api.models.memory import free_memory, is_out_of_memory

log = logging.getLogger(__name__)

# Bytes that stay free for activations: a batch of Stable Diffusion 1 at 512 x 512 in fp16.
WORKING_MEMORY = 2 * 2**30


class Placement:
    """Moves components between the host and one device.

    Args:
        device: Where they run.
        free_bytes: Returns the free memory of the device; None where host and device share theirs, and nothing
            is gained by moving.
    """

    def __init__(self, device: torch.device, free_bytes: Callable[[], int] | None) -> None:
        self.device = device
        self._free_bytes = free_bytes
        # In the order of their use, the latest last.
        self._resident: list[Component] = []
        # Those whose layers come to the device one by one, by a hook of diffusers.
        self._streamed: set[Component] = set()

    def use(self, components: Iterable[Component]) -> None:
        """Have some components on the device together, and others there only as far as there is room.

        Raises:
            torch.OutOfMemoryError: The memory of the host is full as well.
        """
        wanted = list(components)
        # Weights that are moved in inference mode could never be moved again outside of it.
        with torch.inference_mode(mode=False):
            self._use(wanted)

    def _use(self, wanted: Sequence[Component]) -> None:
        for component in wanted:
            if component not in self._resident and component not in self._streamed:
                self._make_room(component.size + WORKING_MEMORY, wanted)
                self._move_in(component, wanted)
            if component not in self._streamed:
                # In one assignment, because other threads read it.
                self._resident = [*(other for other in self._resident if other is not component), component]

    def has(self, component: Component) -> bool:
        """Whether a component is on the device; may be called from any thread."""
        return component in self._resident

    def forget(self, components: Iterable[Component]) -> None:
        """Drop components that are not used any more, so that their memory can be freed."""
        gone = set(components)
        self._streamed -= gone
        self._resident = [component for component in self._resident if component not in gone]
        free_memory()

    def keep_only(self, components: Iterable[Component]) -> bool:
        """Move all others to the host, because some need the memory.

        Returns:
            Whether that gained anything: there were others, and the host has room for them.
        """
        kept = set(components)
        others = [resident for resident in self._resident if resident not in kept]
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

    def _make_room(self, needed: int, wanted: Sequence[Component]) -> None:
        if self._free_bytes is None:
            return
        if self._free_bytes() < needed:
            # What torch caches of freed tensors counts as used.
            free_memory()
        for other in [resident for resident in self._resident if resident not in wanted]:
            if self._free_bytes() >= needed:
                break
            self._move_out(other)

    def _move_in(self, component: Component, wanted: Sequence[Component]) -> None:
        try:
            component.module.to(self.device)
        except Exception as error:
            # Half a component there is of no use, and its memory is needed to try again.
            component.module.to("cpu")
            if not is_out_of_memory(error) or self._free_bytes is None:
                raise
            if self.keep_only(wanted):
                self._move_in(component, wanted)
            else:
                self._stream(component)

    def _stream(self, component: Component) -> None:
        """Let a component that is larger than the device run from the host's memory, layer by layer."""
        log.warning(
            "%s (%.1f GB) does not fit into the device's memory; its layers are moved there one by one, which is slow",
            component.name,
            component.size / 1e9,
        )
        apply_group_offloading(
            component.module,
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=self.device.type == "cuda",
        )
        self._streamed.add(component)

    def _move_out(self, component: Component) -> None:
        log.info("Moving %s (%.1f GB) to the host's memory to make room", component.name, component.size / 1e9)
        # First, so that it is brought back whole where this breaks down half-way.
        self._resident = [other for other in self._resident if other is not component]
        component.module.to("cpu")
        free_memory()


def free_bytes_of(device: torch.device) -> Callable[[], int] | None:
    """How to ask a device for its free memory; None for those that share the host's."""
    return (lambda: int(torch.cuda.mem_get_info(device)[0])) if device.type == "cuda" else None
