"""How large a model's components are, and how wide: what a plan of its memory is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

DENOISER, AUTOENCODER, TEXT, OTHER = "denoiser", "autoencoder", "text", "other"
DENOISERS = ("unet", "transformer", "prior")
AUTOENCODERS = ("vae", "vqvae", "movq")

ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
"""Bytes of one number of each precision in which models run."""

# Counted: 0.11 (SD 1.5), 0.08 (SDXL). Transformers compute nearly all: 0.76 (FLUX.1).
UNET_SHARE = 0.09

STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
"""Bytes of one number of each floating type, by its name in the headers of safetensors files."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one component.

    Attributes:
        name: its name in the pipeline, such as ``unet``.
        role: what it does: ``denoiser``, ``autoencoder``, ``text`` or ``other``.
        stored: bytes by the types in its files' headers.
        largest: the elements of its largest tensor.
        width: of a transformer its hidden size; of a UNet or an autoencoder the channels of its finest level.
        cell: the side of the pixels for which a denoiser has one token or place.
        is_unet: whether it is a UNet, and no transformer.
        is_video: whether it is an autoencoder for videos, which holds frames beside the picture.
        upcast: whether it is an autoencoder that runs in fp32 because it overflows in fp16.
    """

    name: str
    role: str
    stored: Mapping[str, int]
    largest: int
    width: int
    cell: int = 8
    is_unet: bool = False
    is_video: bool = False
    upcast: bool = False

    @property
    def elements(self) -> int:
        """The numbers that are converted to the precision in which the model runs."""
        return sum(size // STORED_BYTES[kind] for kind, size in self.stored.items() if kind in STORED_BYTES)

    @property
    def count(self) -> int:
        """The numbers that it has, about; of those in whole numbers, each has four bits or more."""
        return 2 * sum(self.stored.values()) if self.is_quantized else self.elements

    @property
    def flops(self) -> float:
        """What a denoiser computes for each pixel of a prediction, about: two operations for each weight and token.

        Most weights of a UNet see few places, so it computes a share of that.
        """
        return 2 * self.count / self.cell**2 * (UNET_SHARE if self.is_unet else 1)

    @property
    def main_dtype(self) -> str:
        """The type of most bytes, as headers spell it."""
        return max(self.stored, key=lambda kind: self.stored[kind], default="F32")

    @property
    def is_quantized(self) -> bool:
        """Whether the files hold weights in fewer bits, which are loaded as they are."""
        return self.main_dtype not in STORED_BYTES

    def loaded_bytes(self, dtype: str) -> int:
        """The bytes of the weights in a precision; those of whole numbers stay."""
        whole = sum(size for kind, size in self.stored.items() if kind not in STORED_BYTES)
        return self.elements * ITEM_BYTES[dtype] + whole


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """All components of a model.

    Attributes:
        components: with weights.
        native: width and height of the pictures that it was made for, in pixels.
        guided: whether one forward has two rows for a picture with guidance; else there are two forwards.
        together: whether its family has all components on the device for the whole run.
        seen: the pixels of the images that its denoiser sees beside the picture in a usual edit.
        keeps_seen: whether it keeps what its attention made of them, in place of looking at them in each step.
    """

    components: tuple[Weights, ...]
    native: tuple[int, int] = (1024, 1024)
    guided: bool = True
    together: bool = False
    seen: int = 0
    keeps_seen: bool = False

    @cached_property
    def denoiser(self) -> Weights:
        """The network that predicts noise; the largest component where none has a name of such."""
        return next((part for part in self.components if part.role == DENOISER), self.by_size[0])

    @cached_property
    def by_size(self) -> tuple[Weights, ...]:
        """The components, the largest first."""
        return tuple(sorted(self.components, key=lambda part: -sum(part.stored.values())))

    @cached_property
    def stages(self) -> tuple[tuple[Weights, ...], ...]:
        """The components that are on the device at the same time, by stage."""
        words = tuple(part for part in self.components if part.role == TEXT)
        alone = tuple((part,) for part in self.components if part.role != TEXT)
        return (words, *alone) if words else alone

    @property
    def disk(self) -> int:
        """The bytes of all files with weights."""
        return sum(sum(part.stored.values()) for part in self.components)


def role_of(name: str) -> str:
    """What a component does, by its name in the pipeline."""
    if name.startswith("text_encoder"):
        return TEXT
    if name in AUTOENCODERS:
        return AUTOENCODER
    return DENOISER if name.startswith(DENOISERS) else OTHER
