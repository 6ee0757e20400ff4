"""What the headers of IP-Adapters (arXiv:2308.06721) tell; knows no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.adapters.reading import once
from sd_api.models.bounded_files import FileFaultError, check_safetensors
from sd_api.models.folders import IP_ADAPTER, FoundFile, ModelFolders
from sd_api.models.headers import read_header
from sd_api.models.sources import PART_CONFIG

EncoderName = Literal["CLIP", "SigLIP"]
Nothing = Literal["zeros", "grey", "black"]
"""Zeros in place of what the encoder gives; or what it gives of a grey or of a black image."""

TransformerName = Literal["FLUX.1", "Stable Diffusion 3"]
FLUX: TransformerName = "FLUX.1"
SD3: TransformerName = "Stable Diffusion 3"

# The tables of such a file; the names of its weights begin with them.
IMAGE, ATTENTION = "image_proj.", "ip_adapter."

# What the names of weights have in XLabs' adapters for FLUX.1, and what that is in all others.
_OF_XLABS = {
    "ip_adapter_proj_model.": IMAGE,
    "double_blocks.": ATTENTION,
    "processor.ip_adapter_double_stream_k_proj.": "to_k_ip.",
    "processor.ip_adapter_double_stream_v_proj.": "to_v_ip.",
}


@dataclass(frozen=True)
class AdapterHeader:
    """What the weights of an adapter tell by their shapes.

    Attributes:
        width: Of the embeddings of the model that it was made for; for Stable Diffusion 3 of its layers.
        sees: Of what the image encoder gives it: the width of one embedding, or of each of its hidden states.
        whole: Whether it sees one embedding of an image rather than hidden states.
        transformer: The architecture of the transformer that it was made for; None where that has a UNet.
    """

    width: int
    sees: int
    whole: bool
    transformer: TransformerName | None = None

    @property
    def architecture(self) -> str:
        """The architecture that it was made for."""
        return self.transformer or architecture_of(self.width)

    @property
    def encoder(self) -> EncoderName:
        """The kind of its image encoder."""
        return "SigLIP" if self.transformer == SD3 else "CLIP"

    @property
    def nothing(self) -> Nothing:
        """What it gets of an image where there is none, as diffusers' pipelines have it."""
        if self.transformer == FLUX:
            return "black"
        return "zeros" if self.whole or self.transformer == SD3 else "grey"


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """The names of an adapter's weights without what XLabs' have of their own, by those in its file."""
    return {name: _plain(name) for name in names}


def _plain(name: str) -> str:
    if name.startswith(tuple(_OF_XLABS)):
        for theirs, ours in _OF_XLABS.items():
            name = name.replace(theirs, ours)
    return name


def header_of(shapes: Mapping[str, tuple[int, ...]]) -> AdapterHeader:
    """What an adapter is.

    Args:
        shapes: Of its weights, by their names.

    Raises:
        ValueError: It is none that can act here; the message is the end of a sentence that begins with its file.
    """
    shapes = {plain: shapes[name] for name, plain in plain_names(shapes).items()}
    # Those for transformers have numbers without gaps.
    if f"{ATTENTION}0.to_k_ip.weight" in shapes:
        return _of_transformer(shapes)
    if f"{ATTENTION}1.to_k_ip.weight" not in shapes:
        raise ValueError("holds no IP-Adapter")
    width = _matrix(shapes, f"{ATTENTION}1.to_k_ip.weight")[1]
    # In diffusers' order. One with a norm of its own, or a resampler within, sees what recognises faces.
    for name, side, whole in (("proj.weight", 1, True), ("proj.0.weight", 0, False), ("proj_in.weight", 1, False)):
        if IMAGE + name not in shapes:
            continue
        if name == "proj.0.weight" and f"{IMAGE}proj.3.weight" not in shapes:
            break
        return AdapterHeader(width, _matrix(shapes, IMAGE + name)[side], whole)
    raise ValueError("sees faces by another program's recognition, which this server does not have")


def _of_transformer(shapes: Mapping[str, tuple[int, ...]]) -> AdapterHeader:
    width = _matrix(shapes, f"{ATTENTION}0.to_k_ip.weight")[1]
    if f"{ATTENTION}0.norm_ip.linear.weight" in shapes and f"{IMAGE}proj_in.weight" in shapes:
        return AdapterHeader(width, _matrix(shapes, f"{IMAGE}proj_in.weight")[1], whole=False, transformer=SD3)
    if f"{ATTENTION}0.to_k_ip.bias" in shapes and f"{IMAGE}proj.weight" in shapes:
        return AdapterHeader(width, _matrix(shapes, f"{IMAGE}proj.weight")[1], whole=True, transformer=FLUX)
    raise ValueError("holds an IP-Adapter for a model with a transformer, in a format that is not read; XLabs' are")


def _matrix(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    """The shape of a weight that is a matrix in each adapter.

    Raises:
        ValueError: It is none here.
    """
    if len(shapes[name]) != 2:
        raise ValueError(f"has {name} with {len(shapes[name])} axes; it must be a matrix")
    return shapes[name]


def list_adapters(folders: ModelFolders) -> list[FoundFile]:
    """The adapters that are there; an image encoder that lies among them is none."""
    return [file for file in folders.files(IP_ADAPTER) if not (file.path.parent / PART_CONFIG).is_file()]


def described_adapters(folders: ModelFolders) -> list[dict[str, Any]]:
    """The adapters for people and their programs; those that cannot be used say why."""
    return [_described(file) for file in list_adapters(folders)]


def _described(file: FoundFile) -> dict[str, Any]:
    if file.path.suffix != ".safetensors":
        # What is pickled is read once it is used.
        return {"name": file.name, "architecture": None, "problem": None}
    try:
        return {"name": file.name, "architecture": read_adapter(file).architecture, "problem": None}
    except (FileFaultError, ValueError) as error:
        return {"name": file.name, "architecture": None, "problem": str(error).removeprefix(f"{file.path}: ")}


@once
def read_adapter(file: FoundFile) -> AdapterHeader:
    """What the header of a safetensors file tells.

    Raises:
        FileFaultError: It is damaged.
        ValueError: See ``header_of``.
    """
    check_safetensors(file.path)
    return header_of(read_header(file.path).shapes)
