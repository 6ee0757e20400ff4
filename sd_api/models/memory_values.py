"""What a plan of memory is made of, and what it says: the machine, the wishes, the plan."""

from dataclasses import dataclass
from typing import Literal

from sd_api.settings.models import MemoryMode, PlacementWish, QuantizationWish

# Of the memory that the device shares with all other programs, this share stays theirs.
SHARED_RESERVE = 0.1

Quantization = Literal["none", "fp8", "int8", "nf4"]
Placing = Literal["resident", "by_stage", "grouped"]

PLACING_WORDS = {
    "resident": "all parts on the device",
    "by_stage": "parts moved to the device by stage",
    "grouped": "layers streamed to the device in groups",
}
QUANTIZATION_WORDS = {
    "none": "weights as published",
    "fp8": "fp8 weights",
    "int8": "int8 weights",
    "nf4": "nf4 weights",
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a model may use; all sizes are bytes.

    Attributes:
        kind: ``cuda``, ``rocm``, ``xpu``, ``mps`` or ``cpu``.
        total: the memory of the device; that of the whole machine where the device shares it.
        free: what no other program uses of it.
        host_free: what no program uses of the machine's own memory.
        dtype: the precision that ``device.py`` has chosen.
        dtype_is_configured: whether the configuration demands that precision.
        bf16: whether the device computes bf16.
        quantizers: what the installed libraries can do here, of ``int8`` and ``nf4``.
    """

    kind: str
    total: int
    free: int
    host_free: int
    dtype: str
    dtype_is_configured: bool = False
    bf16: bool = True
    quantizers: frozenset[str] = frozenset()

    @property
    def shares_memory(self) -> bool:
        """Whether device and host have one memory, so that nothing is gained by moving."""
        return self.kind in ("cpu", "mps")

    @property
    def budget(self) -> int:
        """What a plan may use of the device's memory."""
        return round(self.free - SHARED_RESERVE * self.total) if self.shares_memory else self.free


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the configuration says; ``auto`` leaves the choice to the plan.

    What computes attention is chosen before (``attention.py``), because memory does not depend on it.
    """

    memory: MemoryMode = "auto"
    quantize: QuantizationWish = "auto"
    placement: PlacementWish = "auto"
    compile: bool = False
    attention: str = "native"


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """How a model runs.

    Attributes:
        dtype: the precision of its arithmetic: ``fp32``, ``fp16`` or ``bf16``.
        quantization: how the weights of the components in ``quantized`` are stored.
        quantized: names of components.
        placement: ``resident``: all on the device; ``by_stage``: those of the running stage; ``grouped``: the denoiser
            stays in the host's memory, and its layers come one after another.
        streamed: names of the components whose layers come one after another.
        tile: the side of the autoencoder's tiles in pixels; 0 if it decodes at once.
        attention: the kernel that computes the denoiser's attention, see ``attention.py``.
        compiles: whether the denoiser is compiled: a UNet for some sizes, a transformer's blocks that repeat.
        peak: the most bytes of the device's memory, for one picture of the native size; a bound.
        host: bytes of the machine's own memory.
        weights: bytes of each component's weights as they are loaded, by its name.
        working: bytes that each component needs beside its weights while it runs, by its name.
        seen: the pixels of images that the denoiser sees beside the picture, for which ``peak`` is enough.
        more_seen: bytes that each further million of such pixels takes at most; 0 where it sees none.
        flops: the arithmetic of one prediction for each pixel, about, by which models are compared.
        fits: whether the machine has that much.
        reasons: short sentences, the first says what was chosen.
    """

    dtype: str
    quantization: Quantization
    quantized: tuple[str, ...]
    placement: Placing
    streamed: tuple[str, ...]
    tile: int
    attention: str
    compiles: bool
    peak: int
    host: int
    weights: dict[str, int]
    working: dict[str, int]
    seen: int
    more_seen: int
    flops: float
    fits: bool
    reasons: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The choice in few words."""
        tiles = [f"autoencoder in tiles of {self.tile}"] if self.tile else []
        stored, placed = QUANTIZATION_WORDS[self.quantization], PLACING_WORDS[self.placement]
        return ", ".join([self.dtype, stored, placed, *tiles, f"{self.attention} attention"])


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"
