"""Which components are on the device: where its memory gets short, the least recently used ones go to the host's.

Components are placed one by one, so a model that is larger than the card runs by moving its parts. From the host's
memory a component comes back in a fraction of the time that loading takes.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from psutil import virtual_memory

from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.memory import free_memory, is_out_of_memory
from sd_api.models.memory_values import MemoryPlan
from sd_api.models.streaming import stream, unstream

log = logging.getLogger(__name__)


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
        # Those of which a plan says that they are to run so, before they are used first.
        self._to_stream: set[Component] = set()
        # Those that run so because a picture was larger than the plan is for.
        self._slowed: set[Component] = set()
        # Those of the latest call.
        self._in_use: Sequence[Component] = ()

    def follow(self, plan: MemoryPlan, parts: Parts) -> None:
        """Place a model's components as a plan says, once they are used."""
        parts.tile = plan.tile
        for name, component in parts.components.items():
            component.working = plan.working.get(name, component.working)
            if name in plan.streamed and self._free_bytes is not None:
                self._to_stream.add(component)

    def use(self, components: Iterable[Component]) -> None:
        """Have some components on the device together, and others there only as far as there is room.

        Raises:
            torch.OutOfMemoryError: The memory of the host is full as well.
        """
        wanted = list(components)
        self._in_use = wanted
        # Weights that are moved in inference mode could never be moved again outside of it.
        with torch.inference_mode(mode=False):
            self._use(wanted)

    def _use(self, wanted: Sequence[Component]) -> None:
        for component in wanted:
            if component in self._to_stream:
                self._stream(component)
            elif component not in self._resident and not component.streamed:
                self._make_room(component.size + component.working, wanted)
                self._move_in(component, wanted)
            if not component.streamed:
                # In one assignment, because other threads read it.
                self._resident = [*(other for other in self._resident if other is not component), component]

    def has(self, component: Component) -> bool:
        """Whether a component is on the device; may be called from any thread."""
        return component in self._resident

    def forget(self, components: Iterable[Component]) -> None:
        """Drop components that are not used any more, so that their memory can be freed."""
        gone = set(components)
        for component in gone:
            component.streamed = False
        self._slowed -= gone
        self._to_stream -= gone
        self._resident = [component for component in self._resident if component not in gone]
        free_memory()

    def make_room(self) -> bool:
        """Move all components but those of the latest call to the host, because these need the memory.

        Returns:
            Whether that gained anything: there were others, and the host has room for them.
        """
        return self._keep_only(self._in_use)

    def slow_down(self) -> bool:
        """Have the largest component of the latest call run from the host's memory, layer by layer.

        Returns:
            Whether there was one that did not yet, and the host has room for it.
        """
        whole = [component for component in self._in_use if component in self._resident]
        if self._free_bytes is None or not whole:
            return False
        largest = max(whole, key=lambda component: component.size)
        try:
            with torch.inference_mode(mode=False):
                self._move_out(largest)
                self._stream(largest)
                self._slowed.add(largest)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("The host's memory is full as well")
            return False
        return True

    def run_as_planned(self) -> None:
        """Have what was slowed down run whole again, because its next picture may be smaller."""
        for component in self._slowed:
            unstream(component.module)
            component.streamed = False
            with torch.inference_mode(mode=False):
                # What its last layers left on the device.
                component.module.to("cpu")
            log.info("%s runs whole again", component.name)
        self._slowed.clear()

    def _keep_only(self, kept: Sequence[Component]) -> bool:
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
            if self._keep_only(wanted):
                self._move_in(component, wanted)
            else:
                self._stream(component)

    def _stream(self, component: Component) -> None:
        """Let a component run from the host's memory, layer by layer, because it leaves no room on the device."""
        log.warning(
            "%s (%.1f GB) does not fit into the device's memory; its layers are moved there one by one, which is slow",
            component.name,
            component.size / 1e9,
        )
        # Layers move while others run where there is room for a copy of the weights that the system may not move.
        pinned = virtual_memory().available > 2 * component.size
        stream(component.module, self.device, pinned=pinned)
        self._to_stream.discard(component)
        component.streamed = True

    def _move_out(self, component: Component) -> None:
        log.info("Moving %s (%.1f GB) to the host's memory to make room", component.name, component.size / 1e9)
        # First, so that it is brought back whole where this breaks down half-way.
        self._resident = [other for other in self._resident if other is not component]
        component.module.to("cpu")
        free_memory()


def free_bytes_of(device: torch.device) -> Callable[[], int] | None:
    """How to ask a device for its free memory; None for those that share the host's."""
    if device.type not in ("cuda", "xpu"):
        return None
    return lambda: int(getattr(torch, device.type).mem_get_info(device)[0])
