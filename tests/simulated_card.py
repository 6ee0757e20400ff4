"""A graphics card that is counted rather than there, and modules that fill it instead of moving."""

from typing import Any

import torch


class Card:
    """A device's memory: what is on it, what is cached of what was, and how much it holds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.on: dict[str, int] = {}
        self.cached = 0
        self.host_is_full_for: str | None = None

    def free(self) -> int:
        return self.capacity - sum(self.on.values()) - self.cached

    def let_go(self) -> None:
        self.cached = 0

    def work(self, needed: int) -> None:
        """Take memory for activations, and give it back."""
        if needed > self.free():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class Module(torch.nn.Module):
    """A module that says how large it is, and fills a card instead of moving."""

    def __init__(self, card: Card, name: str, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(size, dtype=torch.int8, device="meta"), requires_grad=False)
        self._card, self._name = card, name

    def to(self, device: Any, *_: Any, **__: Any) -> "Module":  # type: ignore[override]
        if str(device) == "cpu" and self._name == self._card.host_is_full_for:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        self._card.on.pop(self._name, None)
        if str(device) != "cpu":
            if self._card.free() < self.weight.nbytes:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self._card.on[self._name] = self.weight.nbytes
        return self
