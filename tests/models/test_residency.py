"""Models make room for each other on a device whose memory is counted."""

from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from sd_api.models.residency import Residency, size_of

from sd_api.models import residency

GB = 2**30


class Card:
    """A device's memory: what is on it, what is kept of what was, and how much it holds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.on: dict[str, int] = {}
        self.kept = 0
        self.host_is_full_for: str | None = None

    def free(self) -> int:
        return self.capacity - sum(self.on.values()) - self.kept

    def let_go(self) -> None:
        self.kept = 0


class Part(torch.nn.Module):
    """A module that says how large it is, and fills a card instead of moving."""

    def __init__(self, card: Card, name: str, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(size, dtype=torch.int8, device="meta"), requires_grad=False)
        self._card, self._name = card, name

    def to(self, device: Any, *_: Any, **__: Any) -> "Part":  # type: ignore[override]
        if str(device) == "cpu" and self._name == self._card.host_is_full_for:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        self._card.on.pop(self._name, None)
        if str(device) != "cpu":
            if self._card.free() < self.weight.nbytes:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self._card.on[self._name] = self.weight.nbytes
        return self


class Model(DiffusionPipeline):  # type: ignore[misc]
    """A pipeline of a UNet and a safety checker."""

    def __init__(self, unet: torch.nn.Module, safety_checker: torch.nn.Module) -> None:
        super().__init__()
        self.unet, self.safety_checker = unet, safety_checker

    @property
    def components(self) -> dict[str, Any]:
        return {"unet": self.unet, "safety_checker": self.safety_checker, "scheduler": None}

    def to(self, device: Any) -> None:
        self.unet.to(device)
        self.safety_checker.to(device)


def model(card: Card, name: str, size: int) -> Model:
    return Model(Part(card, name, size - GB // 10), Part(card, f"{name}'s checker", GB // 10))


@pytest.fixture
def card() -> Card:
    return Card(9 * GB)


@pytest.fixture
def device(card: Card) -> Residency:
    return Residency(torch.device("cuda"), card.free)


def test_models_stay_while_there_is_room(card: Card, device: Residency) -> None:
    models = [model(card, name, 3 * GB) for name in "ab"]
    for used in models:
        device.use(used)
    assert all(device.has(used) for used in models)
    assert size_of(models[0]) == 3 * GB


def test_the_least_recently_used_makes_room_and_leaves_its_checker(card: Card, device: Residency) -> None:
    first, second, third = (model(card, name, 3 * GB) for name in "abc")
    for used in (first, second, first, third):
        device.use(used)
    assert [device.has(used) for used in (first, second, third)] == [True, False, True]
    assert set(card.on) == {"a", "a's checker", "b's checker", "c", "c's checker"}
    device.use(second)
    assert [device.has(used) for used in (first, second, third)] == [False, True, True]
    assert "b" in card.on


def test_what_does_not_fit_beside_others_is_tried_alone(
    card: Card, device: Residency, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, large = model(card, "a", 3 * GB), model(card, "b", 8 * GB)
    device.use(first)
    # Other programs' memory is freed and taken at any time, so what is said to be free may not be.
    monkeypatch.setattr(residency, "WORKING_MEMORY", -20 * GB)
    device.use(large)
    assert device.has(large)
    assert not device.has(first)


def test_what_does_not_even_fit_alone_is_not_left_half_way(card: Card, device: Residency) -> None:
    first, huge = model(card, "a", 3 * GB), model(card, "b", 20 * GB)
    device.use(first)
    with pytest.raises(torch.OutOfMemoryError):
        device.use(huge)
    assert not device.has(huge)
    assert "b" not in card.on
    device.use(first)
    assert "a" in card.on


def test_nothing_is_left_half_way_where_it_does_not_fit_alone_either(
    card: Card, device: Residency, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, huge = model(card, "a", 3 * GB), model(card, "b", 9 * GB)
    device.use(first)
    monkeypatch.setattr(residency, "WORKING_MEMORY", -20 * GB)
    # Its UNet fits, its checker does not.
    card.capacity = 9 * GB - 1
    with pytest.raises(torch.OutOfMemoryError):
        device.use(huge)
    assert not device.has(huge)
    assert "b" not in card.on


def test_what_torch_keeps_is_let_go_before_any_model_is(
    card: Card, device: Residency, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "free_memory", card.let_go)
    first, second = model(card, "a", 3 * GB), model(card, "b", 3 * GB)
    device.use(first)
    card.kept = 4 * GB
    device.use(second)
    assert device.has(first)
    assert device.has(second)


def test_a_model_that_the_host_has_no_room_for_is_brought_back_whole(card: Card, device: Residency) -> None:
    first, second = model(card, "a", 3 * GB), model(card, "b", 3 * GB)
    device.use(first)
    device.use(second)
    card.host_is_full_for = "a"
    assert not device.keep_only(second)
    assert not device.has(first), "whatever of it is still there, it has to be moved before it is used"
    card.host_is_full_for = None
    device.use(first)
    assert {"a", "a's checker"} <= set(card.on)


def test_all_others_go_where_one_needs_the_memory(card: Card, device: Residency) -> None:
    models = [model(card, name, 2 * GB) for name in "abc"]
    for used in models:
        device.use(used)
    assert device.keep_only(models[1])
    assert [device.has(used) for used in models] == [False, True, False]
    assert not device.keep_only(models[1])


def test_nothing_moves_where_host_and_device_share_memory(card: Card) -> None:
    device = Residency(torch.device("cpu"), None)
    models = [model(card, name, 20 * GB) for name in "ab"]
    for used in models:
        device.use(used)
    assert all(device.has(used) for used in models)
    assert not device.keep_only(models[0])
