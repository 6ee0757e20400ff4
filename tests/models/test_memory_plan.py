"""The plan of a model's memory: the fastest way that fits, never more than the machine has, and the reasons."""

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_api.generation.abilities import MEGAPIXEL
from sd_api.models.memory_plan import OVERHEAD, plan_memory
from sd_api.models.memory_values import Machine, MemoryPlan, Wishes
from sd_api.models.model_sizes import ModelSizes, Weights, role_of
from sd_api.models.published import PUBLISHED
from sd_api.settings.models import MemoryMode, PlacementWish, QuantizationWish
from sd_api.web.docs import CARDS, plan_for_card

GB = 2**30
MODES = get_args(MemoryMode)


def card(total: float, **changes: Any) -> Machine:
    size = round(total * GB)
    values = {"kind": "cuda", "total": size, "free": size, "host_free": 64 * GB, "dtype": "fp16", **changes}
    return Machine(**values)


def plan(name: str, machine: Machine, **wishes: Any) -> MemoryPlan:
    return plan_memory(PUBLISHED[name], machine, Wishes(**wishes))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", [16, 64])
def test_no_plan_exceeds_its_card_and_what_does_not_fit_fits_in_no_way(mode: str, host: int) -> None:
    for (name, sizes), total in product(PUBLISHED.items(), CARDS):
        machine = card(total, host_free=host * GB, quantizers=frozenset({"int8", "nf4"}))
        found = plan(name, machine, memory=mode)
        assert found.fits == (found.peak <= machine.free and found.host <= machine.host_free)
        assert found.reasons[0].startswith(found.summary)
        if not found.fits and mode == "auto":
            ways = product(("none", "fp8"), get_args(PlacementWish)[1:])
            others = [plan_memory(sizes, machine, Wishes(quantize=q, placement=p)) for q, p in ways]  # type: ignore[arg-type]
            assert not any(other.fits for other in others), (name, total)


@pytest.mark.parametrize("kept", [False, True])
def test_what_further_references_take_is_what_the_plan_says(kept: bool) -> None:
    sizes = replace(PUBLISHED["FLUX.2 klein 4B"], keeps_seen=kept)
    usual, more = (
        plan_memory(replace(sizes, seen=sizes.seen + further * MEGAPIXEL), card(80), Wishes()) for further in (0, 8)
    )
    assert usual.working["transformer"] + 8 * usual.more_seen == more.working["transformer"]
    assert plan("FLUX.1 schnell", card(24)).more_seen == 0


def test_more_memory_is_never_slower() -> None:
    ways = [("none", "resident"), ("none", "by_stage"), ("fp8", "by_stage"), ("none", "grouped"), ("fp8", "grouped")]
    for sizes in PUBLISHED.values():
        found = [plan_for_card(sizes, total) for total in CARDS]
        ranks = [ways.index((one.quantization, one.placement)) for one in found]
        assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    ("name", "total", "wishes", "summary"),
    [
        ("Stable Diffusion 1.5", 8, {}, "fp16, weights as published, all parts on the device"),
        ("FLUX.1 schnell", 24, {}, "bf16, weights as published, parts moved to the device by stage"),
        ("FLUX.1 schnell", 16, {}, "bf16, fp8 weights, parts moved to the device by stage"),
        ("FLUX.1 schnell", 8, {}, "bf16, weights as published, layers streamed to the device in groups"),
        ("FLUX.1 schnell", 16, {"memory": "fast"}, "bf16, nf4 weights, all parts on the device"),
        (
            "FLUX.1 schnell",
            24,
            {"memory": "low"},
            "bf16, weights as published, layers streamed to the device in groups, autoencoder in tiles of 512",
        ),
        ("FLUX.1 schnell", 24, {"quantize": "int8"}, "bf16, int8 weights, all parts on the device"),
        (
            "FLUX.1 schnell",
            24,
            {"placement": "grouped"},
            "bf16, weights as published, layers streamed to the device in groups",
        ),
    ],
)
def test_the_way_that_is_chosen(name: str, total: int, wishes: dict[str, str], summary: str) -> None:
    found = plan(name, card(total, quantizers=frozenset({"int8", "nf4"})), **wishes)
    assert found.fits
    assert found.summary == f"{summary}, native attention"


def test_the_reasons_name_what_was_too_much() -> None:
    found = plan("FLUX.1 schnell", card(12))
    assert found.reasons == (
        f"{found.summary}: 10.5 GB of 12.9 GB free",
        "the model was published in bf16, and may overflow in fp16",
        "weights as published, all parts on the device would need 36.4 GB of the card",
        "weights as published, parts moved to the device by stage would need 25.0 GB of the card",
        "fp8 weights, parts moved to the device by stage would need 13.7 GB of the card",
    )
    # A text encoder that does not fit is streamed; the denoiser is not, where it fits.
    small = plan("PixArt-Σ", card(8))
    assert (small.placement, small.streamed) == ("by_stage", ("text_encoder",))


def test_precision() -> None:
    assert plan("FLUX.1 schnell", card(24, bf16=False)).dtype == "fp16"
    assert plan("FLUX.1 schnell", card(24, dtype="fp32", dtype_is_configured=True)).dtype == "fp32"
    assert plan("Stable Diffusion XL", card(24)).dtype == "fp16"
    # Half of what an Apple GPU would need in its own precision.
    assert plan("FLUX.1 schnell", card(64, kind="mps", dtype="fp32")).dtype == "bf16"
    assert plan("FLUX.1 schnell", card(64, kind="cpu", dtype="fp32")).dtype == "fp32"


def test_where_memory_is_shared_nothing_moves() -> None:
    found = plan("FLUX.1 schnell", card(64, kind="cpu", dtype="bf16", free=60 * GB))
    assert (found.placement, found.streamed, found.quantization) == ("resident", (), "none")
    small = plan("FLUX.1 schnell", card(32, kind="cpu", dtype="bf16", free=30 * GB))
    assert (small.placement, small.quantization, small.fits) == ("resident", "fp8", True)
    assert not plan("FLUX.1 schnell", card(32, kind="mps", dtype="bf16", free=30 * GB)).fits


def test_weights_that_were_published_in_fewer_bits_are_loaded_as_they_are() -> None:
    sizes = PUBLISHED["FLUX.1 schnell"]
    four_bits = replace(sizes.denoiser, stored={"U8": 6 * 10**9, "F32": 4 * 10**8, "BF16": 10**8})
    sizes = replace(sizes, components=tuple(four_bits if part is sizes.denoiser else part for part in sizes.components))
    found = plan_memory(sizes, card(12), Wishes(quantize="fp8"))
    assert (found.quantization, found.placement) == ("none", "by_stage")
    assert found.weights["transformer"] == 6 * 10**9 + 2 * 10**8 + 10**8


def test_a_family_that_has_all_parts_on_the_device_at_once_streams_more() -> None:
    sizes = replace(PUBLISHED["Stable Diffusion 3.5 medium"], together=True)
    found = plan_memory(sizes, card(12), Wishes())
    assert found.fits
    assert found.streamed == ("text_encoder_3",)
    working = max(found.working.values())
    assert found.peak > sum(size for name, size in found.weights.items() if name not in found.streamed) + working


COUNTS = st.integers(1, 20 * 10**9)
MACHINES = st.builds(
    Machine,
    kind=st.sampled_from(("cuda", "rocm", "xpu", "mps", "cpu")),
    total=st.integers(0, 100 * GB),
    free=st.integers(0, 100 * GB),
    host_free=st.integers(0, 100 * GB),
    dtype=st.sampled_from(("fp32", "fp16", "bf16")),
    dtype_is_configured=st.booleans(),
    bf16=st.booleans(),
    quantizers=st.frozensets(st.sampled_from(("int8", "nf4"))),
)


@st.composite
def models(draw: st.DrawFn) -> ModelSizes:
    names = draw(
        st.lists(st.sampled_from(("unet", "transformer", "vae", "text_encoder", "tagger")), min_size=1, unique=True)
    )
    parts = [
        Weights(
            name=name,
            role=role_of(name),
            stored={draw(st.sampled_from(("F32", "BF16", "F8_E4M3", "U8", "I64"))): draw(COUNTS)},
            largest=draw(st.integers(1, 10**9)),
            width=draw(st.integers(1, 8192)),
            is_unet=name == "unet",
        )
        for name in names
    ]
    side = draw(st.integers(64, 4096))
    return ModelSizes(
        components=tuple(parts), native=(side, side), guided=draw(st.booleans()), together=draw(st.booleans())
    )


@given(
    models(),
    MACHINES,
    st.builds(
        Wishes,
        memory=st.sampled_from(MODES),
        quantize=st.sampled_from(get_args(QuantizationWish)),
        placement=st.sampled_from(get_args(PlacementWish)),
    ),
)
def test_every_model_has_a_plan_on_every_machine(sizes: ModelSizes, machine: Machine, wishes: Wishes) -> None:
    found = plan_memory(sizes, machine, wishes)
    assert found == plan_memory(sizes, machine, wishes)
    assert found.peak >= (0 if machine.shares_memory else OVERHEAD)
    assert not found.fits or found.peak <= machine.budget
    assert not (machine.shares_memory and found.streamed)
    if wishes.placement != "auto" and not machine.shares_memory:
        assert found.placement == wishes.placement
    if wishes.quantize != "auto" and not sizes.denoiser.is_quantized:
        assert found.quantization == wishes.quantize
