"""How a model runs on a machine, decided before anything of it is loaded: one pure function, ``plan_memory``.

The sizes come from the headers of the model's files (``model_sizes.py``), the machine is measured (``memory.py``), and
nothing here knows torch, so servers without it, ``--check`` and the table in ``docs/models.md`` ask the same function.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sd_api.generation.abilities import MEGAPIXEL
from sd_api.models.memory_values import (
    PLACING_WORDS,
    QUANTIZATION_WORDS,
    Machine,
    MemoryPlan,
    Placing,
    Quantization,
    Wishes,
    gigabytes,
)
from sd_api.models.model_sizes import DENOISER, ITEM_BYTES, ModelSizes, Weights
from sd_api.models.working_memory import AUTOENCODER_TILES, decoding_bytes, denoising_bytes, encoding_bytes

# The driver's context, the libraries' workspaces and what is lost between allocations.
OVERHEAD = 512 * 2**20

# Bytes for each weight, with a bound of what stays in 16 bits: norms and embeddings with fp8 (layerwise casting) and
# int8; nf4 has besides a scale of 4 bytes for each block of 64 (arXiv:2305.14314).
QUANTIZED_BYTES = {"fp8": 1.05, "int8": 1.1, "nf4": 0.65}
# Smaller text encoders gain nothing.
MIN_QUANTIZED = 10**9


def plan_memory(model: ModelSizes, machine: Machine, wishes: Wishes) -> MemoryPlan:
    """Choose how a model runs: the first way that fits, from the fastest that keeps its weights to the smallest.

    Args:
        model: the sizes of its components.
        machine: where it will run.
        wishes: what the configuration says.

    Returns:
        The plan; the smallest one, with ``fits`` false, where none fits.
    """
    dtype, why_dtype = _precision(model, machine)
    tried: list[MemoryPlan] = []
    for quantization, placement in _ways(model, machine, wishes):
        for tile in _tiles(placement, machine, wishes):
            # What is streamed or converted layer by layer cannot be compiled.
            compiles = wishes.compile and placement != "grouped" and quantization == "none"
            plan = _plan(
                model, machine, dtype, quantization, placement, tile, compiles=compiles, attention=wishes.attention
            )
            if plan.fits:
                return _explained(plan, tried, machine, wishes, why_dtype)
            tried.append(plan)
    smallest = min(tried, key=lambda plan: (max(0, plan.host - machine.host_free), plan.peak))
    return _explained(smallest, tried, machine, wishes, why_dtype)


def _precision(model: ModelSizes, machine: Machine) -> tuple[str, str]:
    if machine.dtype_is_configured:
        return machine.dtype, "the precision is configured"
    published_as = model.denoiser.main_dtype
    if published_as == "BF16" and machine.bf16 and machine.dtype != "bf16" and machine.kind != "cpu":
        return "bf16", "the model was published in bf16, and may overflow in fp16"
    return machine.dtype, f"{machine.dtype} is this device's precision"


def _ways(model: ModelSizes, machine: Machine, wishes: Wishes) -> Iterator[tuple[Quantization, Placing]]:
    """The ways to try, in order."""
    ways = _ALL[wishes.memory]
    if model.denoiser.is_quantized:
        # These weights are loaded as they are.
        ways = tuple(("none", placement) for placement in _PLACINGS[wishes.memory])
    elif wishes.quantize != "auto":
        ways = tuple((wishes.quantize, placement) for placement in _PLACINGS[wishes.memory])
    elif model.denoiser.main_dtype == "F8_E4M3" and _is_possible("fp8", model, machine):
        # What was published in fp8 loses nothing by it.
        ways = tuple(("fp8", placement) for placement in _PLACINGS[wishes.memory])
    else:
        ways = tuple(way for way in ways if _is_possible(way[0], model, machine))
    if machine.shares_memory:
        yield from dict.fromkeys((quantization, "resident") for quantization, _ in ways)
        return
    wanted = [way for way in ways if wishes.placement in ("auto", way[1])]
    yield from wanted or [(way[0], wishes.placement) for way in ways[:1] if wishes.placement != "auto"]


def _tiles(placement: Placing, machine: Machine, wishes: Wishes) -> Sequence[int]:
    if wishes.memory == "low":
        return AUTOENCODER_TILES[1:]
    # The borders of tiles may show: before that, parts are moved.
    can_move = placement == "resident" and not machine.shares_memory and wishes.placement == "auto"
    return AUTOENCODER_TILES[:1] if can_move and wishes.memory == "auto" else AUTOENCODER_TILES


def _is_possible(quantization: Quantization, model: ModelSizes, machine: Machine) -> bool:
    if quantization == "nf4":
        # bitsandbytes quantizes linear layers, and a UNet's are convolutions for the greater part.
        return "nf4" in machine.quantizers and not machine.shares_memory and not model.denoiser.is_unet
    return quantization == "none" or machine.kind != "mps"


# "auto": exact while the running stage fits, then fp8, which rounds little; streaming is exact and slow, nf4 is seen.
# "fast": whatever keeps the denoiser on the device. "low": exact, and as much of the device for others as can be.
_ALL: dict[str, tuple[tuple[Quantization, Placing], ...]] = {
    "auto": (
        ("none", "resident"),
        ("none", "by_stage"),
        ("fp8", "by_stage"),
        ("none", "grouped"),
        ("fp8", "grouped"),
        ("nf4", "by_stage"),
    ),
    "fast": (
        ("none", "resident"),
        ("fp8", "resident"),
        ("nf4", "resident"),
        ("none", "by_stage"),
        ("fp8", "by_stage"),
        ("nf4", "by_stage"),
        ("none", "grouped"),
        ("fp8", "grouped"),
    ),
    "low": (("none", "grouped"), ("fp8", "grouped"), ("nf4", "by_stage")),
}
_PLACINGS: dict[str, tuple[Placing, ...]] = {
    "auto": ("resident", "by_stage", "grouped"),
    "fast": ("resident", "by_stage", "grouped"),
    "low": ("grouped",),
}


def _plan(
    model: ModelSizes,
    machine: Machine,
    dtype: str,
    quantization: Quantization,
    placement: Placing,
    tile: int,
    *,
    compiles: bool,
    attention: str,
) -> MemoryPlan:
    quantized = () if quantization == "none" else _quantized(model, quantization)
    weights = {part.name: _weight_bytes(part, dtype, quantization, quantized) for part in model.components}
    working = _working(model, dtype, tile)
    overhead = 0 if machine.shares_memory else OVERHEAD
    streamed: list[str] = []
    held = dict(weights)

    def peak() -> int:
        if placement == "resident" or model.together:
            return sum(held.values()) + max(working.values()) + overhead
        return max(
            sum(held[part.name] for part in stage) + max(working[part.name] for part in stage) + overhead
            for stage in model.stages
        )

    if placement != "resident":
        # Text encoders run once for each prompt, so streaming them costs little; the denoiser runs for every step.
        candidates = [part for part in model.by_size if part.role != "autoencoder"]
        first = [part for part in candidates if part.role == DENOISER and placement == "grouped"]
        rest = [part for part in candidates if part.role != DENOISER]
        for part in [*first, *rest]:
            if part in first or peak() > machine.budget:
                held[part.name] = min(2 * part.largest * ITEM_BYTES[dtype], weights[part.name])
                streamed.append(part.name)
    needed, host = peak(), sum(weights.values())
    return MemoryPlan(
        dtype=dtype,
        quantization=quantization,
        quantized=quantized,
        placement=placement,
        streamed=tuple(streamed),
        tile=tile,
        attention=attention,
        compiles=compiles,
        peak=needed,
        host=needed if machine.shares_memory else host,
        weights=weights,
        working=working,
        seen=model.seen,
        more_seen=_denoising(model, dtype, model.seen + MEGAPIXEL) - working[model.denoiser.name] if model.seen else 0,
        flops=model.denoiser.flops,
        fits=needed <= machine.budget and (machine.shares_memory or host <= machine.host_free),
        reasons=(),
    )


def _quantized(model: ModelSizes, quantization: Quantization) -> tuple[str, ...]:
    # transformers' text encoders look at the type of their weights while they run, which layerwise casting changes.
    words = [part for part in model.components if part.role == "text" and part.elements >= MIN_QUANTIZED]
    return tuple(part.name for part in [model.denoiser, *(words if quantization != "fp8" else ())])


def _weight_bytes(part: Weights, dtype: str, quantization: Quantization, quantized: Sequence[str]) -> int:
    plain = part.loaded_bytes(dtype)
    if part.name not in quantized:
        return plain
    if part.is_unet and quantization != "fp8":
        return plain
    return round(min(plain, part.elements * QUANTIZED_BYTES[quantization]))


def _working(model: ModelSizes, dtype: str, tile: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in model.components:
        if part.role == DENOISER:
            found[part.name] = _denoising(model, dtype, model.seen)
        elif part.role == "autoencoder":
            found[part.name] = decoding_bytes(part, model.native, dtype=dtype, tile=tile)
        else:
            found[part.name] = encoding_bytes(part, dtype=dtype)
    return found


def _denoising(model: ModelSizes, dtype: str, seen: int) -> int:
    rows = 2 if model.guided else 1
    return denoising_bytes(model.denoiser, model.native, rows=rows, dtype=dtype, seen=seen, keeps_seen=model.keeps_seen)


def _explained(
    plan: MemoryPlan, tried: Sequence[MemoryPlan], machine: Machine, wishes: Wishes, why_dtype: str
) -> MemoryPlan:
    place = "memory" if machine.shares_memory else "card"
    reasons = [f"{plan.summary}: {gigabytes(plan.peak)} of {gigabytes(machine.budget)} free", why_dtype]
    if not plan.fits:
        reasons.append(f"no way fits this machine; the smallest needs {gigabytes(plan.peak)} of the {place}")
    for before in tried:
        if before.tile == 0 and before != plan:
            full = f"{gigabytes(before.peak)} of the {place}" if before.peak > machine.budget else None
            host = f"{gigabytes(before.host)} of RAM" if before.host > machine.host_free else None
            way = f"{QUANTIZATION_WORDS[before.quantization]}, {PLACING_WORDS[before.placement]}"
            reasons.append(f"{way} would need {full or host or 'more'}")
    if wishes.memory != "auto":
        reasons.append(f'"memory": "{wishes.memory}" is configured')
    return replace(plan, reasons=tuple(reasons))
