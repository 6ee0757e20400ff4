"""Parts that the configuration gives to a model in place of its own: an autoencoder, text encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import class_of, why_refused
from sd_api.models.autoencoder import latent_channels, scale_factor
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.files import find_faults, find_part_faults, find_weight_faults
from sd_api.models.hub_parts import fetch_part
from sd_api.models.other_files import shards_of
from sd_api.models.part_claims import bound_part
from sd_api.models.part_loading import load_part, refuse_missing_weights, refused_claims
from sd_api.models.pickled import without_pickles
from sd_api.models.pipeline_files import parts, weight_files
from sd_api.models.precision import Precision
from sd_api.models.sources import (
    MODEL_INDEX,
    PART_CONFIG,
    HubModel,
    ModelDirectory,
    PartDirectory,
    parse_part,
)
from sd_api.models.state_dict import WeightFile
from sd_api.settings import Limits, ModelSettings

_VAE, _TEXT = "vae", "text_encoder"


def separate_parts(
    settings: ModelSettings,
    config: Path,
    entries: Mapping[str, tuple[str, str]],
    precision: Precision,
    token: str | None,
    limits: Limits,
) -> dict[str, Any]:
    """Load the parts that a model's settings name.

    Args:
        settings: of the model.
        config: its folder, which has the configurations of its own parts.
        entries: its parts by their names, with library and class.
        precision: of the weights.
        token: for the hub.
        limits: for what is downloaded.

    Raises:
        ModelUnavailable: one is damaged, of another kind, or fits none of the model's parts.
    """
    if settings.vae is not None and _VAE not in entries:
        raise ModelUnavailable("vae: this model has no autoencoder that another could replace.")
    places = fetch_separate(settings, token, limits, half=precision.half)
    found: dict[str, Any] = {}
    for place in places[_VAE]:
        found[_VAE] = _autoencoder(place, config, entries[_VAE], precision)
        kind = class_of(*entries[_VAE])
        with torch.device("meta"), refused_claims("vae: "):
            own = kind.from_config(kind.load_config(config / _VAE, local_files_only=True))
        try:
            refuse_other_latents(own, found[_VAE])
        except ModelUnavailable as error:
            raise ModelUnavailable(f"vae: {place} does not fit this model: {error.message}") from None
    for place in places[_TEXT]:
        found |= _text_encoder(place, config, entries, precision)
    return found


def fetch_separate(settings: ModelSettings, token: str | None, limits: Limits, *, half: bool) -> dict[str, list[Path]]:
    """Where on this machine the parts are that a model's settings name; those of the hub are downloaded first.

    Args:
        settings: of the model.
        token: for the hub.
        limits: for what is downloaded.
        half: whether weights in half precision will do.

    Returns:
        Files and folders by the kind of part: ``vae``, ``text_encoder``.

    Raises:
        ModelUnavailable: one is nowhere.
    """

    def place(name: str, part: str) -> Path:
        source = parse_part(name)
        if isinstance(source, HubModel):
            return fetch_part(source.repo_id, part, token, limits, half=half)
        return source.path

    return {part: [place(name, part) for name in names] for part, names in separate_names(settings).items()}


def separate_names(settings: ModelSettings) -> dict[str, list[str]]:
    """What a model's settings name in place of its own parts, by the kind of part."""
    return {_VAE: [settings.vae] if settings.vae else [], _TEXT: list(settings.text_encoders)}


def text_encoder_files(place: Path, *, half: bool) -> list[Path]:
    """The files with the weights of a text encoder.

    Args:
        place: its one file, or the folder with ``config.json`` and its files.
        half: whether weights in half precision will do.

    Raises:
        ModelUnavailable: there are none, or some of those that belong together are missing.
    """
    if place.is_file():
        if (shards := shards_of(place.stem)) is not None:
            raise ModelUnavailable(
                f"text_encoders: {place} is one of {shards} files; name the folder that has them all."
            )
        return [place]
    if (place / MODEL_INDEX).is_file():
        raise ModelUnavailable(f"text_encoders: {place} is a whole model; name the folder of one of its text encoders.")
    if faults := find_weight_faults(place):
        raise ModelUnavailable(f"text_encoders: {'; '.join(faults)}.")
    files = [place / name for name in weight_files([file.name for file in place.iterdir()], half=half)]
    index = next((file for file in files if file.suffix == ".json"), None)
    return files if index is None else [place / name for name in sorted(set(read_object(index)["weight_map"].values()))]


def _autoencoder(place: Path, config: Path, entry: tuple[str, str], precision: Precision) -> Any:
    if place.is_file():
        return autoencoder_of_file(place, config, entry, precision)
    if not (place / MODEL_INDEX).is_file():
        return autoencoder_of_folder(place, precision)
    source = ModelDirectory(place)
    if faults := find_faults(source):
        raise ModelUnavailable(f"vae: {'; '.join(faults)}.")
    whole = without_pickles(source).path
    if (found := dict(parts(read_object(whole / MODEL_INDEX))).get(_VAE)) is None:
        raise ModelUnavailable(f"vae: {source} has no autoencoder.")
    return load_part(whole / _VAE, *found, precision)


def autoencoder_of_folder(folder: Path, precision: Precision) -> Any:
    """Load an autoencoder from a folder with its configuration.

    Raises:
        ModelUnavailable: It is damaged, or no class of diffusers that is allowed.
    """
    if faults := find_part_faults(str(folder)):
        raise ModelUnavailable(f"vae: {'; '.join(faults)}.")
    readable = without_pickles(PartDirectory(folder)).path
    class_name = str(read_object(readable / PART_CONFIG).get("_class_name"))
    if reason := why_refused("diffusers", class_name):
        raise ModelUnavailable(f"vae: {folder} {reason}.")
    if not hasattr(class_of("diffusers", class_name), "decode"):
        raise ModelUnavailable(f"vae: {folder} is of diffusers.{class_name}, which is no autoencoder.")
    return load_part(readable, "diffusers", class_name, precision, place=folder)


def refuse_other_latents(own: Any, vae: Any) -> None:
    """Refuse an autoencoder whose latents are not those of a model.

    Args:
        own: The model's own.
        vae: The other one.

    Raises:
        ModelUnavailable: With how they differ.
    """
    try:
        shapes = [(latent_channels(each), scale_factor(each)) for each in (own, vae)]
    except AttributeError:
        raise ModelUnavailable(f"it is of {type(vae).__name__}, whose latents this server does not know.") from None
    if shapes[0] != shapes[1]:
        (channels, cell), (others, other_cell) = shapes
        raise ModelUnavailable(
            f"its latents have {others} channels and cells of {other_cell} pixels; this model's {channels} and {cell}."
        )
    scales = [getattr(each.config, "scaling_factor", None) for each in (own, vae)]
    if type(own) is type(vae) and scales[0] != scales[1]:
        raise ModelUnavailable(
            f"it was made for another architecture: its latents are scaled by {scales[1]}, this model's by {scales[0]}."
        )


def autoencoder_of_file(path: Path, config: Path, entry: tuple[str, str], precision: Precision) -> Any:
    """Load the autoencoder of a file of weights in place of a model's own.

    Args:
        path: The file.
        config: The model's folder, which has the configuration of its own.
        entry: Library and class of its own.
        precision: Of the weights.

    Raises:
        ModelUnavailable: It is damaged, or of another shape.
    """
    part_class = class_of(*entry)
    weights = WeightFile(path)
    with refused_claims("vae: "):
        bound_part(part_class, config / _VAE, weights.header.shapes, {})
    try:
        # The names tell its layout; the shape of its configuration is that of the one that it replaces.
        vae = part_class.from_single_file(
            weights.tensors(),
            config=str(config),
            subfolder=_VAE,
            local_files_only=True,
            torch_dtype=precision.dtype,
        )
    except Exception as error:
        raise ModelUnavailable(
            f"vae: {path} holds no autoencoder for this model ({type(error).__name__}: {str(error)[:200]})."
        ) from None
    refuse_missing_weights(path, [key for key, weight in vae.named_parameters() if weight.is_meta])
    return vae


def _text_encoder(
    place: Path, config: Path, entries: Mapping[str, tuple[str, str]], precision: Precision
) -> dict[str, Any]:
    """The text encoder of a file or a folder, by the name of the part whose vocabulary it has."""
    files = [WeightFile(path) for path in text_encoder_files(place, half=precision.half)]
    shapes = {name: shape for weights in files for name, shape in weights.header.shapes.items()}
    misfits: list[str] = []
    for name, entry in entries.items():
        if not name.startswith("text_encoder"):
            continue
        part_class = class_of(*entry)
        if not issubclass(part_class, PreTrainedModel):
            continue
        try:
            module: Any = bound_part(part_class, config / name, shapes, {})
        except FileFaultError as fault:
            misfits.append(str(fault))
            continue
        if tuple(module.get_input_embeddings().weight.shape) in shapes.values():
            tensors = [_tensors(weights, module, precision) for weights in files]
            encoder, info = part_class.from_pretrained(
                None,
                config=module.config,
                state_dict={name: tensor for several in tensors for name, tensor in several.items()},
                dtype=precision.dtype,
                output_loading_info=True,
            )
            refuse_missing_weights(place, info["missing_keys"])
            return {name: encoder}
    known = ", ".join(name for name in entries if name.startswith("text_encoder")) or "it has none"
    reasons = "".join(f"; {reason}" for reason in misfits)
    raise ModelUnavailable(f"text_encoders: {place} fits none of this model's text encoders ({known}){reasons}.")


def _tensors(weights: WeightFile, module: Any, precision: Precision) -> dict[str, Any]:
    """The weights of a text encoder, by transformers' names.

    Those of GGUF have llama.cpp's names, and are brought back to full numbers: transformers' layers compute with none
    of its types.
    """
    if weights.header.format != "gguf":
        return weights.tensors()
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = weights.header.path
    try:
        read = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=module, torch_dtype=precision.dtype)
    except Exception as error:
        # It fails in as many ways as there are architectures.
        raise ModelUnavailable(
            f"text_encoders: {path} is no GGUF of a {type(module).__name__}: {type(error).__name__}: {str(error)[:200]}"
        ) from None
    tensors: dict[str, Any] = read["tensors"]
    return tensors
