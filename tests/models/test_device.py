"""The choice of device and precision, and the reason that is given for it."""

from types import SimpleNamespace

import pytest
import torch

from sd_api.errors import ConfigurationError
from sd_api.models.device import choose_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose hardware the test says; only torch's questions to the hardware are answered by it."""
    machine = SimpleNamespace(cards=[], apple=False, cuda_build="13.0", cpu={}, system="Linux")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(machine.cards))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(machine.cards))
    monkeypatch.setattr(
        torch.cuda, "get_device_name", lambda card=0: machine.cards[card if isinstance(card, int) else card.index]
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: machine.apple)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: machine.cpu)
    monkeypatch.setattr("platform.system", lambda: machine.system)
    monkeypatch.setattr(torch.version, "cuda", machine.cuda_build)
    return machine


@pytest.mark.parametrize(
    ("hardware", "device", "dtype", "reason"),
    [
        ({"cards": ["NVIDIA GeForce RTX 4090"]}, "cuda:0", "fp16", "NVIDIA"),
        ({"cards": ["NVIDIA GeForce GTX 1660 SUPER"]}, "cuda:0", "fp32", "black pictures on the NVIDIA GeForce GTX 16"),
        ({"apple": True, "system": "Darwin"}, "mps", "fp32", "black pictures"),
        ({"cpu": {"amx_bf16": True, "avx512_bf16": True}}, "cpu", "bf16", "amx_bf16"),
        ({"cpu": {"avx512_bf16": True}}, "cpu", "bf16", "avx512_bf16"),
        ({"cpu": {"bf16": True}}, "cpu", "bf16", "bf16"),
        ({"cpu": {"bf16": True}, "system": "Darwin"}, "cpu", "fp32", "no native bf16"),
        ({"cpu": {"avx2": True}}, "cpu", "fp32", "no native bf16"),
    ],
)
def test_auto_takes_the_fastest_that_is_right(
    machine: SimpleNamespace, hardware: dict[str, object], device: str, dtype: str, reason: str
) -> None:
    vars(machine).update(hardware)
    choice = choose_device("auto", "auto")
    assert str(choice.device) == device
    assert choice.dtype == dtype
    assert reason in choice.dtype_reason
    assert choice.device_reason


def test_cards_of_amd_and_intel(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cards = ["AMD Radeon RX 7900 XTX"]
    monkeypatch.setattr(torch.version, "hip", "7.1")
    choice = choose_device("auto", "auto")
    assert (choice.kind, str(choice.device), choice.dtype) == ("rocm", "cuda:0", "fp16")
    assert "AMD" in choice.dtype_reason
    machine.cards = []
    assert "ROCm" in choose_device("auto", "auto").device_reason
    monkeypatch.setattr(torch.version, "hip", None)
    for name, value in {"is_available": True, "device_count": 1, "get_device_name": "Intel Arc B580"}.items():
        monkeypatch.setattr(torch.xpu, name, lambda *_, value=value: value)
    choice = choose_device("auto", "auto")
    assert (choice.kind, str(choice.device), choice.dtype) == ("xpu", "xpu:0", "fp16")
    assert "Intel Arc B580" in choice.device_reason
    assert str(choose_device("xpu", "bf16").device) == "xpu:0"
    with pytest.raises(ConfigurationError, match="there is no xpu:3"):
        choose_device("xpu:3", "auto")


def test_what_is_configured_is_taken(machine: SimpleNamespace) -> None:
    machine.cards = ["NVIDIA A", "NVIDIA B"]
    choice = choose_device("cuda:1", "bf16")
    assert (str(choice.device), choice.dtype, choice.torch_dtype) == ("cuda:1", "bf16", torch.bfloat16)
    assert choice.device_reason == choice.dtype_reason == "as configured"


@pytest.mark.parametrize(
    ("device", "hardware", "words"),
    [
        ("cuda", {}, "there is no cuda; this machine has no NVIDIA GPU"),
        ("cuda:1", {"cards": ["NVIDIA A"]}, "there is no cuda:1; this machine has cuda:0 (NVIDIA A)"),
        ("mps", {}, "Apple silicon"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    machine: SimpleNamespace, device: str, hardware: dict[str, object], words: str
) -> None:
    vars(machine).update(hardware)
    with pytest.raises(ConfigurationError) as refusal:
        choose_device(device, "auto")
    assert words in refusal.value.message


def test_a_torch_without_cuda_is_distinguished_from_a_machine_without_a_card(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigurationError, match="needs a CUDA or ROCm build of torch"):
        choose_device("cuda", "auto")


def test_this_machine_has_a_choice() -> None:
    choice = choose_device("auto", "auto")
    assert torch.zeros(1, device=choice.device, dtype=choice.torch_dtype).sum() == 0
