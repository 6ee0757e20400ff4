"""Reads the sizes of a model's components from its files: headers and small configuration files, never weights."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.headers import Header, read_header
from sd_api.models.model_sizes import AUTOENCODER, DENOISER, STORED_BYTES, TEXT, ModelSizes, Weights, role_of
from sd_api.models.pipeline_files import CONFIG_SUFFIXES, needed_files, parts
from sd_api.models.sources import MODEL_INDEX, ModelDirectory
from sd_api.models.weight_formats import check_weights

Tensor = tuple[str, int]
"""The type of a tensor, as headers spell it, and its bytes."""

# Of a model that says nothing of itself: those of the largest common ones.
_UNKNOWN_WIDTH = {DENOISER: 4096, TEXT: 4096, AUTOENCODER: 128}
_UNKNOWN_FACTOR = 8
_UNKNOWN_SIDE = 1024
# All transformers put at least 2 x 2 latents, or 16 pixels, into a token.
_LEAST_PIXELS_OF_A_TOKEN = 16

# The parts of a single file by the beginnings of their tensors' names; what has none of them is the denoiser.
_SINGLE_FILE_PARTS = (
    ("vae", ("first_stage_model.", "vae.")),
    ("text_encoder", ("cond_stage_model.", "conditioner.embedders.", "text_encoders.")),
)


def folder_sizes(model: ModelDirectory, *, half: bool) -> ModelSizes:
    """The sizes of a model in the diffusers format.

    Args:
        model: its folder; files that are missing or damaged count as nothing.
        half: whether weights in half precision are those that are loaded, where there are any.
    """
    index = read_object(model.path / MODEL_INDEX)
    names = [file.relative_to(model.path).as_posix() for file in model.path.glob("*/*") if file.is_file()]
    chosen = needed_files(index, names, half=half)
    named = dict(parts(index))
    configs = {name: _config(model.path / name) for name in named}
    factor = next((_factor(config) for name, config in configs.items() if role_of(name) == AUTOENCODER), 8)
    components = []
    for name, (_, class_name) in named.items():
        files = [model.path / file for file in chosen if file.startswith(f"{name}/")]
        stored, largest = _stored(_tensors(files))
        if stored:
            components.append(_weights(name, class_name, configs[name], stored, largest, factor))
    denoiser = next((name for name in named if role_of(name) == DENOISER), None)
    return ModelSizes(
        components=tuple(components),
        native=_native(configs.get(denoiser or "", {}), factor),
    )


def single_file_sizes(
    header: Header,
    denoiser: str,
    base: ModelDirectory | None = None,
    *,
    text: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    half: bool,
) -> ModelSizes:
    """The sizes of a model of which a file has all parts, or the largest.

    Args:
        header: of the file.
        denoiser: what its denoiser is called in its pipeline.
        base: the model that has what the file lacks; its own denoiser need not be there.
        text: where the weights of each of its text encoders are.
        half: see ``folder_sizes``.
    """
    known = folder_sizes(base, half=half) if base else ModelSizes(components=())
    config = _config(base.path / denoiser) if base else {}
    tensors: dict[str, list[Tensor]] = {}
    known_marks = (*text.items(), *_SINGLE_FILE_PARTS)
    for name, info in header.tensors.items():
        begins = (part for part, marks in known_marks if name.startswith(marks))
        # Scaled weights in fp8 are brought back while they are loaded.
        is_restored = header.is_scaled and info.dtype in ("F8_E4M3", "F8_E5M2")
        stored = ("BF16", 2 * info.size) if is_restored else (info.dtype, info.size)
        tensors.setdefault(next(begins, denoiser), []).append(stored)
    components = []
    for name, own in tensors.items():
        class_name, own_config = ("UNet" * (name == "unet"), config) if name == denoiser else ("", {})
        components.append(_weights(name, class_name, own_config, *_stored(own), _UNKNOWN_FACTOR))
    rest = (part for part in known.components if part.name not in tensors)
    return replace(known, components=(*components, *rest))


def with_autoencoder(sizes: ModelSizes, files: Iterable[Path], config: Mapping[str, Any]) -> ModelSizes:
    """The sizes of a model that has another autoencoder.

    Args:
        sizes: of the model.
        files: those with the weights of the autoencoder.
        config: its configuration; empty where it is not known.
    """
    vae = _weights("vae", "", config, *_stored(_tensors(files)), _UNKNOWN_FACTOR)
    others = (part for part in sizes.components if part.role != AUTOENCODER)
    return replace(sizes, components=(*others, vae))


def with_text_encoders(sizes: ModelSizes, files: Iterable[Sequence[Path]], names: Iterable[str]) -> ModelSizes:
    """The sizes of a model to which text encoders are given; those that replace its own are of the same size.

    Args:
        sizes: of the model.
        files: those of each text encoder.
        names: what the text encoders of such a model are called, the smallest first.
    """
    there = {part.name for part in sizes.components}
    given = (_weights("text_encoder", "", {}, *_stored(_tensors(several)), _UNKNOWN_FACTOR) for several in files)
    by_size = sorted(given, key=lambda part: sum(part.stored.values()))
    lacking = [name for name in names if name not in there]
    added = (replace(part, name=name) for name, part in zip(lacking, by_size, strict=False))
    return replace(sizes, components=(*sizes.components, *added))


def _weights(
    name: str, class_name: str, config: Mapping[str, Any], stored: Mapping[str, int], largest: int, factor: int
) -> Weights:
    role, is_unet = role_of(name), "UNet" in class_name
    return Weights(
        name=name,
        role=role,
        stored=stored,
        largest=largest,
        width=_width(role, config, is_unet=is_unet),
        cell=factor if is_unet else max(_LEAST_PIXELS_OF_A_TOKEN, factor),
        is_unet=is_unet,
        is_video=role == AUTOENCODER and any("temp" in key for key in config),
        upcast=bool(config.get("force_upcast")),
    )


def _width(role: str, config: Mapping[str, Any], *, is_unet: bool) -> int:
    if role == AUTOENCODER or is_unet:
        channels = config.get("block_out_channels") or config.get("decoder_block_out_channels")
        width = channels[0] if isinstance(channels, list) and channels else config.get("base_dim")
        return width if isinstance(width, int) else 320 if is_unet else _UNKNOWN_WIDTH[AUTOENCODER]
    heads, size = config.get("num_attention_heads"), config.get("attention_head_dim")
    if role == DENOISER and isinstance(heads, int) and isinstance(size, int):
        return heads * size
    inner = config.get("text_config")
    for values in (config, inner if isinstance(inner, dict) else {}):
        for key in ("dim", "hidden_size", "d_model"):
            if isinstance(values.get(key), int):
                return int(values[key])
    return _UNKNOWN_WIDTH.get(role, _UNKNOWN_WIDTH[TEXT])


def _factor(config: Mapping[str, Any]) -> int:
    """The pixels of an autoencoder's latents, along a side."""
    given = config.get("spatial_compression_ratio") or config.get("scale_factor_spatial")
    if isinstance(given, int):
        return given
    for key in ("encoder_block_out_channels", "block_out_channels"):
        if isinstance(config.get(key), list):
            return int(2 ** (len(config[key]) - 1))
    return _UNKNOWN_FACTOR


def _native(config: Mapping[str, Any], factor: int) -> tuple[int, int]:
    side = config.get("sample_size")
    pixels = side * factor if isinstance(side, int) else _UNKNOWN_SIDE
    return pixels, pixels


def _config(folder: Path) -> dict[str, Any]:
    # Its faults are found where it is loaded.
    with suppress(FileFaultError):
        return read_object(folder / "config.json")
    return {}


def _stored(tensors: Iterable[Tensor]) -> tuple[dict[str, int], int]:
    """The bytes by type, and the elements of the largest tensor."""
    stored: Counter[str] = Counter()
    largest = 0
    for kind, size in tensors:
        stored[kind] += size
        largest = max(largest, size // STORED_BYTES.get(kind, 1))
    return dict(stored), largest


def _tensors(files: Iterable[Path]) -> Iterator[Tensor]:
    """The tensors of files; one without a header is of half precision."""
    for file in files:
        if file.suffix in CONFIG_SUFFIXES:
            continue
        with suppress(FileFaultError):
            if check_weights(file) == "pickle":
                yield "F16", file.stat().st_size
            else:
                yield from ((info.dtype, info.size) for info in read_header(file).tensors.values())
