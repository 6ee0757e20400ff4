"""The image encoders beside IP-Adapters: which one an adapter was trained with; knows no torch."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sd_api.models.adapters.ip_adapter_files import AdapterHeader, EncoderName
from sd_api.models.bounded_files import FileFaultError, check_safetensors, read_object
from sd_api.models.folders import IMAGE_ENCODER, FoundFile, ModelFolders
from sd_api.models.headers import read_header
from sd_api.models.sources import PART_CONFIG

# Where repositories have the image encoder, seen from an adapter's folder.
_BESIDE = ("image_encoder", "../image_encoder", "../models/image_encoder")

# By the width of their hidden states, what the layers of the published encoders end with: OpenAI's large one,
# OpenCLIP's huge and gigantic ones, and Google's SigLIP. All have 16 heads.
_ACTIVATIONS = {1024: "quick_gelu", 1280: "gelu", 1664: "gelu", 1152: "gelu_pytorch_tanh"}

# What configurations call those of SigLIP, alone or with their half for texts; older ones of CLIP name nothing.
_SIGLIP = ("siglip_vision_model", "siglip")

# What CLIP alone has: a layer that makes its embedding, and a place for the whole image.
_PROJECTION = "visual_projection.weight"
_WHOLE = "vision_model.embeddings.class_embedding"


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


def encoder_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[EncoderName, dict[str, Any]]:
    """What kind an image encoder is of whose file has none beside it, and its configuration.

    Args:
        shapes: Of its weights, by transformers' names.

    Returns:
        Its kind, and its values by transformers' names.

    Raises:
        ValueError: They are of something else, or of an encoder that is not known.
    """
    kind: EncoderName = "CLIP" if _WHOLE in shapes else "SigLIP"
    try:
        hidden, _, _, patch = shapes["vision_model.embeddings.patch_embedding.weight"]
        places = shapes["vision_model.embeddings.position_embedding.weight"][0]
        projection = {"projection_dim": shapes[_PROJECTION][0]} if kind == "CLIP" else {}
        inner = shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0]
        activation = _ACTIVATIONS[hidden]
    except KeyError as error:
        raise ValueError(f"has no {error}") from None
    except IndexError:
        raise ValueError("has a number in place of a matrix") from None
    return kind, projection | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": sum(".layers." in name and name.endswith(".mlp.fc1.weight") for name in shapes),
        "num_attention_heads": 16,
        "patch_size": patch,
        "image_size": math.isqrt(places) * patch,
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
            kind, config = encoder_of(read_header(path).shapes)
        elif (path / PART_CONFIG).is_file():
            config = read_object(path / PART_CONFIG)
            kind = "SigLIP" if config.get("model_type") in _SIGLIP else "CLIP"
        else:
            return False
    except (FileFaultError, ValueError):
        return False
    # Beside a half for texts, the values of what sees have a table of their own.
    own = config.get("vision_config")
    config = own if isinstance(own, dict) else config
    # As the class of such encoders has them where the file does not say it.
    width = config.get("projection_dim", 512) if header.whole else config.get("hidden_size", 768)
    return bool(kind == header.encoder and width == header.sees)
