"""Components make room for each other on a device whose memory is counted."""

from typing import Any

import pytest
import torch
from simulated_card import Card, Module
from tiny_families import sd

from sd_api.models import placement, streaming
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.placement import Placement

GB = 2**30


@pytest.fixture
def card() -> Card:
    return Card(9 * GB)


@pytest.fixture
def device(card: Card) -> Placement:
    return Placement(torch.device("cuda"), card.free)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The modules that were given to diffusers to be moved layer by layer."""
    given: list[torch.nn.Module] = []
    monkeypatch.setattr(streaming, "apply_group_offloading", lambda module, **_: given.append(module))
    return given


def component(card: Card, name: str, size: float) -> Component:
    return Component(name, Module(card, name, int(size * GB)))


def test_components_stay_while_there_is_room(card: Card, device: Placement) -> None:
    components = [component(card, name, 3) for name in "ab"]
    for used in components:
        device.use([used])
    assert all(device.has(used) for used in components)
    assert components[0].size == 3 * GB


def test_the_least_recently_used_makes_room(card: Card, device: Placement) -> None:
    first, second, third = (component(card, name, 3) for name in "abc")
    for used in (first, second, first, third):
        device.use([used])
    assert set(card.on) == {"a", "c"}
    device.use([second])
    assert set(card.on) == {"b", "c"}
    assert [device.has(used) for used in (first, second, third)] == [False, True, True]


def test_components_of_one_call_are_there_together(card: Card, device: Placement) -> None:
    one, other, third = component(card, "a", 3), component(card, "b", 3), component(card, "c", 4)
    device.use([third])
    device.use([one, other])
    assert set(card.on) == {"a", "b"}
    # None of them makes room for another one, though memory gets short.
    device.use([other, one])
    device.use([third])
    assert set(card.on) == {"a", "c"}, "the one that was used last stays"


def test_those_that_leave_no_room_to_work_in_still_stay_together(
    card: Card, device: Placement, streamed: list[torch.nn.Module]
) -> None:
    one, other = component(card, "a", 4.5), component(card, "b", 4)
    device.use([one, other])
    assert set(card.on) == {"a", "b"}
    assert not streamed


def test_a_model_that_is_larger_than_the_card_runs_by_moving_its_parts(
    card: Card, device: Placement, streamed: list[torch.nn.Module]
) -> None:
    words = [component(card, "text_encoder", 1), component(card, "text_encoder_2", 5)]
    denoiser, autoencoder = component(card, "transformer", 7), component(card, "vae", 0.3)
    assert sum(part.size for part in (*words, denoiser, autoencoder)) > card.capacity
    for _ in range(2):
        device.use(words)
        assert {"text_encoder", "text_encoder_2"} <= set(card.on)
        for _ in range(3):
            device.use([denoiser])
            assert set(card.on) & {"text_encoder", "text_encoder_2"} == set()
        device.use([autoencoder])
        assert "vae" in card.on
    assert not streamed


def test_the_checker_of_pictures_is_placed_like_others(card: Card, device: Placement) -> None:
    checker, denoiser = component(card, "safety_checker", 1.2), component(card, "unet", 6)
    device.use([denoiser])
    device.use([checker])
    assert device.has(checker)
    device.use([denoiser])
    assert device.has(denoiser)
    assert not device.has(checker), "what is left has to be enough to work in"


def test_what_does_not_fit_beside_others_is_tried_alone(
    card: Card, device: Placement, streamed: list[torch.nn.Module]
) -> None:
    first, large = component(card, "a", 3), component(card, "b", 8)
    device.use([first])
    # Other programs' memory is freed and taken at any time, so what is said to be free may not be.
    large.working = -20 * GB
    device.use([large])
    assert device.has(large)
    assert not device.has(first)
    assert not streamed


def test_a_component_that_is_larger_than_the_card_is_streamed(
    card: Card, device: Placement, streamed: list[torch.nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    first, huge = component(card, "a", 3), component(card, "b", 20)
    device.use([first])
    for _ in range(3):
        device.use([huge])
    assert streamed == [huge.module], "once"
    assert "b (21.5 GB) does not fit" in caplog.text
    assert not device.has(huge)
    assert "b" not in card.on
    device.use([first, huge])
    assert set(card.on) == {"a"}
    # Once it has been forgotten, nothing of it is remembered.
    device.forget([huge])
    device.use([huge])
    assert streamed == [huge.module] * 2


def test_of_a_call_that_is_larger_than_the_card_one_part_is_streamed(
    card: Card, device: Placement, streamed: list[torch.nn.Module]
) -> None:
    """A pipeline that runs whole has all its parts in one call."""
    words, denoiser, autoencoder = component(card, "t5", 5), component(card, "unet", 6), component(card, "vae", 0.3)
    device.use([words, denoiser, autoencoder])
    assert streamed == [denoiser.module]
    assert set(card.on) == {"t5", "vae"}


def test_an_error_that_is_no_lack_of_memory_leaves_nothing_half_way(
    card: Card, device: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = component(card, "a", 3)
    moved: list[str] = []

    def to(where: Any) -> None:
        moved.append(str(where))
        if str(where) != "cpu":
            raise RuntimeError("the card is gone")

    monkeypatch.setattr(used.module, "to", to)
    with pytest.raises(RuntimeError, match="the card is gone"):
        device.use([used])
    assert moved == ["cuda", "cpu"]
    assert not device.has(used)


def test_what_torch_caches_is_let_go_before_any_component_is(
    card: Card, device: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", card.let_go)
    first, second = component(card, "a", 3), component(card, "b", 3)
    device.use([first])
    card.cached = 4 * GB
    device.use([second])
    assert set(card.on) == {"a", "b"}


def test_a_component_that_the_host_has_no_room_for_is_brought_back_whole(card: Card, device: Placement) -> None:
    first, second = component(card, "a", 3), component(card, "b", 3)
    device.use([first])
    device.use([second])
    card.host_is_full_for = "a"
    assert not device.make_room()
    assert not device.has(first), "whatever of it is still there, it has to be moved before it is used"
    card.host_is_full_for = None
    device.use([first])
    assert "a" in card.on


def test_all_others_go_where_some_need_the_memory(card: Card, device: Placement) -> None:
    components = [component(card, name, 2) for name in "abc"]
    device.use(components[:1])
    device.use(components[1:])
    assert device.make_room()
    assert set(card.on) == {"b", "c"}
    assert not device.make_room()


def test_what_does_not_fit_alone_while_it_works_is_streamed(
    card: Card, device: Placement, streamed: list[torch.nn.Module]
) -> None:
    small, large = component(card, "a", 1), component(card, "b", 5)
    device.use([small, large])
    card.host_is_full_for = "b"
    assert not device.slow_down()
    card.host_is_full_for = None
    device.use([small, large])
    assert device.slow_down()
    assert streamed == [large.module]
    assert set(card.on) == {"a"}
    assert device.slow_down()
    assert not card.on
    assert not device.slow_down()


def test_nothing_moves_where_host_and_device_share_memory(card: Card) -> None:
    card.capacity = 100 * GB
    device = Placement(torch.device("mps"), None)
    components = [component(card, name, 20) for name in "ab"]
    for used in components:
        device.use([used])
    assert all(device.has(used) for used in components)
    assert not device.make_room()
    assert not device.slow_down()


def test_weights_that_were_moved_in_inference_mode_can_be_moved_outside_of_it() -> None:
    used = Component("linear", torch.nn.Linear(2, 2))
    with torch.inference_mode():
        Placement(torch.device("cpu"), None).use([used])
    assert not any(tensor.is_inference() for tensor in used.module.parameters())
    used.module.to(torch.bfloat16)


def test_a_denoiser_that_is_streamed_for_a_while_predicts_the_same() -> None:
    parts = Parts(sd(), torch.device("cpu"), lambda _: None)
    unet = parts.denoiser
    generator = torch.Generator("cpu").manual_seed(0)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    words = torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator)

    def predicted() -> torch.Tensor:
        with torch.inference_mode():
            prediction: torch.Tensor = unet(sample, 500, encoder_hidden_states=words).sample
        return prediction

    expected = predicted()
    # The processor is in the place of a card.
    device = Placement(torch.device("cpu"), lambda: GB)
    device.use([unet])
    assert device.slow_down()
    assert not device.has(unet)
    registries: list[Any] = [getattr(layer, "_diffusers_hook", None) for layer in unet.module.modules()]
    hooked = [registry for registry in registries if registry is not None and registry.hooks]
    assert len(hooked) > 10
    assert torch.equal(predicted(), expected)
    device.run_as_planned()
    assert not any(registry.hooks for registry in hooked)
    device.use([unet])
    assert device.has(unet)
    assert torch.equal(predicted(), expected)
