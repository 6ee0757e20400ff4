"""What the headers of IP-Adapters (arXiv:2308.06721) tell, and the image encoders beside them; knows no torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.adapters.reading import once
from sd_api.models.bounded_files import FileFaultError, check_safetensors, read_object
from sd_api.models.folders import IMAGE_ENCODER, IP_ADAPTER, FoundFile, ModelFolders
from sd_api.models.headers import read_header
from sd_api.models.sources import PART_CONFIG

# The tables of such a file; the names of its weights begin with them.
IMAGE, ATTENTION = "image_proj.", "ip_adapter."

# What the names of weights begin with in XLabs' adapters for FLUX.1. Others for transformers have numbers without gaps.
_XLABS = ("double_blocks.0.processor.ip_adapter", "ip_adapter_proj_model.")

# Where repositories have the image encoder, seen from an adapter's folder.
_BESIDE = ("image_encoder", "../image_encoder", "../models/image_encoder")


# By the width of their hidden states, what the layers of the published encoders end with: OpenAI's large one, and
# OpenCLIP's huge and gigantic ones. All have 16 heads.
_ACTIVATIONS = {1024: "quick_gelu", 1280: "gelu", 1664: "gelu"}


@dataclass(frozen=True)
class AdapterHeader:
    """What the weights of an adapter tell by their shapes.

    Attributes:
        width: Of the embeddings of the model that it was made for.
        sees: Of what the image encoder gives it: the width of one embedding, or of each of its hidden states.
        whole: Whether it sees one embedding of an image rather than hidden states.
    """

    width: int
    sees: int
    whole: bool


def header_of(shapes: Mapping[str, tuple[int, ...]]) -> AdapterHeader:
    """What an adapter is.

    Args:
        shapes: Of its weights, by their names.

    Raises:
        ValueError: It is none that can act here; the message is the end of a sentence that begins with its file.
    """
    if any(name.startswith(_XLABS) for name in shapes) or f"{ATTENTION}0.to_k_ip.weight" in shapes:
        raise ValueError("holds an IP-Adapter for a model with a transformer, such as FLUX.1, which does not act here")
    if f"{ATTENTION}1.to_k_ip.weight" not in shapes:
        raise ValueError("holds no IP-Adapter for Stable Diffusion")
    width = shapes[f"{ATTENTION}1.to_k_ip.weight"][1]
    # In diffusers' order. One with a norm of its own, or a resampler within, sees what recognises faces.
    for name, side, whole in (("proj.weight", 1, True), ("proj.0.weight", 0, False), ("proj_in.weight", 1, False)):
        if (shape := shapes.get(IMAGE + name)) is None:
            continue
        if name == "proj.0.weight" and f"{IMAGE}proj.3.weight" not in shapes:
            break
        return AdapterHeader(width, shape[side], whole)
    raise ValueError("sees faces by another program's recognition, which this server does not have")


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
        return {"name": file.name, "architecture": architecture_of(read_adapter(file).width), "problem": None}
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


def encoder_for(header: AdapterHeader, file: FoundFile, folders: ModelFolders) -> Path | None:
    """The image encoder that an adapter was trained with, the nearest first; None where it is not here.

    Args:
        header: Of the adapter.
        file: The adapter.
        folders: Where other encoders are.

    Returns:
        Its folder, or its file as other programs have it.
    """
    return next((path for path in _encoders(file, folders) if _gives(path, header)), None)


def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The configuration of an image encoder whose file has none beside it, as transformers names its values.

    Args:
        shapes: Of its weights, by transformers' names.

    Raises:
        ValueError: They are of something else, or of an encoder that is not known.
    """
    try:
        hidden, _, _, patch = shapes["vision_model.embeddings.patch_embedding.weight"]
        places = shapes["vision_model.embeddings.position_embedding.weight"][0]
        projected = shapes["visual_projection.weight"][0]
        inner = shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0]
        activation = _ACTIVATIONS[hidden]
    except KeyError as error:
        raise ValueError(f"has no {error}") from None
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": sum(name.endswith(".mlp.fc1.weight") for name in shapes),
        "num_attention_heads": 16,
        "patch_size": patch,
        "image_size": math.isqrt(places - 1) * patch,
        "projection_dim": projected,
        "hidden_act": activation,
    }


def _encoders(file: FoundFile, folders: ModelFolders) -> Iterator[Path]:
    for name in _BESIDE:
        yield (file.path.parent / name).resolve()
    yield from (encoder.path for encoder in folders.files(IMAGE_ENCODER))


def _gives(path: Path, header: AdapterHeader) -> bool:
    try:
        if path.is_file():
            check_safetensors(path)
            config = config_of(read_header(path).shapes)
        elif (path / PART_CONFIG).is_file():
            config = read_object(path / PART_CONFIG)
        else:
            return False
    except (FileFaultError, ValueError):
        return False
    # As the class of such encoders has them where the file does not say it.
    width = config.get("projection_dim", 512) if header.whole else config.get("hidden_size", 768)
    return bool(width == header.sees)
