"""The memory of a device, as its driver tells."""

import pytest
import torch

from sd_api.generation.engine import DeviceMemory
from sd_api.models.memory import memory_of


def test_a_processor_has_none_of_its_own() -> None:
    assert memory_of(torch.device("cpu")) is None


def test_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3, 8))
    assert memory_of(torch.device("cuda:1")) == DeviceMemory(total=8, free=3)


def test_a_card_that_does_not_answer_any_more_is_no_fault_of_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert memory_of(torch.device("cuda")) is None
