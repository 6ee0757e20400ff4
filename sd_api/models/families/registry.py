"""Which family a model is of. To add a family, write its module and name it here."""

from typing import Any

from sd_api.models.families.any_pipeline import AnyPipeline
from sd_api.models.families.base import Family
from sd_api.models.families.chroma import Chroma
from sd_api.models.families.flux import Flux, FluxFill, FluxKontext
from sd_api.models.families.flux2_klein import Flux2Klein
from sd_api.models.families.flux2_klein_kv import Flux2KleinKV
from sd_api.models.families.flux_control import FluxControl
from sd_api.models.families.krea2 import Krea2
from sd_api.models.families.lcm import LatentConsistency
from sd_api.models.families.lumina2 import Lumina2
from sd_api.models.families.pixart import PixArtSigma
from sd_api.models.families.qwen_image import QwenImage, QwenImageEdit, QwenImageEditPlus
from sd_api.models.families.sana import Sana
from sd_api.models.families.sana_sprint import SanaSprint
from sd_api.models.families.sd import StableDiffusion
from sd_api.models.families.sd3 import StableDiffusion3
from sd_api.models.families.sdxl import StableDiffusionXL
from sd_api.models.families.z_image import ZImage

# The first that knows a pipeline counts.
FAMILIES: tuple[Any, ...] = (
    StableDiffusion(),
    StableDiffusionXL(),
    LatentConsistency(),
    StableDiffusion3(),
    Flux(),
    FluxFill(),
    FluxKontext(),
    FluxControl(),
    Flux2Klein(),
    Flux2KleinKV(),
    Chroma(),
    QwenImage(),
    QwenImageEdit(),
    QwenImageEditPlus(),
    ZImage(),
    Krea2(),
    Sana(),
    SanaSprint(),
    PixArtSigma(),
    Lumina2(),
    AnyPipeline(),
)


def family_named(class_name: str) -> Family | None:
    """The family of a pipeline's class, such as ``StableDiffusionPipeline``; None where no family knows it."""
    return next((family for family in FAMILIES if family.loading_class(class_name) is not None), None)


def family_of(pipeline: object) -> Family:
    """The family of a loaded pipeline, which one of them has loaded."""
    family = family_named(type(pipeline).__name__)
    assert family is not None, type(pipeline)  # noqa: S101 - no other pipeline is loaded
    return family
