"""Finds out what a file of weights is and where the parts of its model come from, before any weight is read."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.architectures import (
    ARCHITECTURES,
    VAE_PREFIXES,
    Architecture,
    identify,
    kind_of,
    pipelines_by_channels,
    refuse_misfit,
    unet_channels,
)
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.files import find_faults
from sd_api.models.part_loading import has_weights
from sd_api.models.pipeline_files import parts, why_unfit
from sd_api.models.sources import MODEL_INDEX, ModelDirectory
from sd_api.models.state_dict import WeightFile
from sd_api.models.traits import Traits, traits_of

DENOISERS = ("unet", "transformer")
"""The names of the largest part of a model, of which a file may be without the rest."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A file of weights, and what it is of.

    Attributes:
        path: The file.
        weights: Its weights.
        config: The folder with the configurations of the model's parts.
        index: The content of its ``model_index.json``.
        pipeline: The name of the pipeline that runs it.
        architecture: What the file's tensors say; None where ``base`` says it.
        base: Whether ``config`` has the weights that the file lacks.
    """

    path: Path
    weights: WeightFile
    config: Path
    index: Mapping[str, Any]
    pipeline: str
    architecture: Architecture | None
    base: bool

    @property
    def name(self) -> str:
        """What people call such a model."""
        return self.architecture.name if self.architecture else f"a {self.pipeline}"

    @property
    def first_name(self) -> str:
        """The name of one of its tensors, for messages."""
        return shown(min(self.weights.header.tensors))

    @property
    def traits(self) -> Traits:
        """What distinguishes it from others of its architecture; only models with a UNet differ in that."""
        if "unet" not in self.index:
            return Traits()
        # Those of version 2 for inpainting predict noise, as all others do.
        version_2 = kind_of(self.weights.header) == "v2" and unet_channels(self.weights.header) == 4
        return traits_of(self.weights.header, self.weights.read, version_2=version_2, is_whole=not self.base)


def open_checkpoint(path: Path, base: Path | None, fetch_config: Callable[[Architecture], Path]) -> OpenedCheckpoint:
    """Find out what a file of weights is, without reading them.

    Args:
        path: the file.
        base: the folder of the model that has what the file lacks; its weights may be there or not.
        fetch_config: returns the folder with the configuration of an architecture that this package has none of.

    Raises:
        ModelUnavailable: the file is damaged, or not a model that this server runs.
    """
    weights = WeightFile(path)
    if base is not None:
        architecture, config = None, base
        index = _read_index(path, config)
        refuse_misfit(weights.header, {name: kind for name, (_, kind) in parts(index) if name in DENOISERS})
    else:
        architecture = identify(weights.header)
        config = architecture.config or fetch_config(architecture)
        index = _read_index(path, config)
        if architecture.config is None:
            # What came from the hub has been looked at by nothing yet; a base has.
            _refuse_faults(path, config, [name for name, _ in parts(index)])
    pipeline = str(index["_class_name"])
    by_channels, channels = pipelines_by_channels(pipeline), unet_channels(weights.header)
    if by_channels and channels is not None:
        if channels not in by_channels:
            known = ", ".join(map(str, sorted(by_channels)))
            raise ModelUnavailable(
                f"{path} holds a UNet that takes {channels} channels; this server runs those of its kind that take "
                f"{known}."
            )
        pipeline = by_channels[channels]
    return OpenedCheckpoint(path, weights, config, index, pipeline, architecture, base=base is not None)


def origins_of(
    checkpoint: OpenedCheckpoint, entries: Mapping[str, tuple[str, str]], given: Mapping[str, Any]
) -> dict[str, str | None]:
    """Where each part comes from: the ``file``, the ``folder`` with the configuration, or None.

    Args:
        checkpoint: The file.
        entries: The model's parts by their names, with library and class.
        given: Those that come from elsewhere.

    Raises:
        ModelUnavailable: a part that the model needs is nowhere.
    """
    origins: dict[str, str | None] = {}
    missing = []
    for name, (library, class_name) in entries.items():
        if name in given:
            origins[name] = None
        elif not has_weights(library, class_name):
            origins[name] = "folder"
        elif _is_in_file(checkpoint, name):
            origins[name] = "file"
        elif checkpoint.base:
            origins[name] = "folder"
        else:
            origins[name] = None
            missing.append(name)
    denoiser = next((name for name in DENOISERS if name in entries), None)
    if checkpoint.base and denoiser is not None and origins[denoiser] != "file":
        # All of the model would be the base's own, in silence.
        raise ModelUnavailable(
            f"{checkpoint.path} holds no {_spoken(denoiser)}, so it is not "
            f"the largest part of a model whose rest is in a base; its tensors are called {checkpoint.first_name} and "
            "the like."
        )
    architecture = checkpoint.architecture
    needed = [name for name in missing if architecture is None or name not in architecture.optional]
    if needed:
        assert architecture is not None  # noqa: S101 - a base has every part
        raise ModelUnavailable(
            f"{checkpoint.path} is only a part of a {architecture.name} model: it lacks the "
            f"{' and the '.join(map(_spoken, needed))}. Get the complete file of this model, or name one that has the "
            f'rest as its "base" in the configuration, such as "{architecture.repo_id}".'
        )
    for name in missing:
        # Without its network, the tokenizer has no purpose.
        origins[name.replace("text_encoder", "tokenizer")] = None
    return origins


def _spoken(part: str) -> str:
    return {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder"}.get(part, part)


def _is_in_file(checkpoint: OpenedCheckpoint, part: str) -> bool:
    header = checkpoint.weights.header
    if part == "vae":
        return header.has(*VAE_PREFIXES)
    if part == "unet":
        return unet_channels(header) is not None
    if part == "transformer":
        others = (*VAE_PREFIXES, "text_encoders.", "cond_stage_model.", "conditioner.")
        return any(not name.startswith(others) for name in header.tensors)
    text = checkpoint.architecture.text if checkpoint.architecture else _text_of(checkpoint)
    return header.has(*text[part]) if part in text else False


def _text_of(checkpoint: OpenedCheckpoint) -> Mapping[str, tuple[str, ...]]:
    """Where the text encoders are in a file whose architecture its base says."""
    kind = {"StableDiffusion3": "sd3", "StableDiffusionXL": "xl_base", "StableDiffusion": "v1", "Flux": "flux-dev"}
    return next((ARCHITECTURES[value].text for key, value in kind.items() if checkpoint.pipeline.startswith(key)), {})


def _refuse_faults(path: Path, config: Path, networks: Collection[str]) -> None:
    if faults := find_faults(ModelDirectory(config), without=networks):
        raise ModelUnavailable(f"{path} needs the configuration in {config}: {'; '.join(faults)}.")


def _read_index(path: Path, config: Path) -> dict[str, Any]:
    """The parts of the architecture's configuration, which may come from the hub."""
    try:
        index = read_object(config / MODEL_INDEX)
    except FileFaultError as fault:
        raise ModelUnavailable(f"{path} needs another file: {fault}") from None
    if reason := why_unfit(index, ()):
        raise ModelUnavailable(f"{path} needs the configuration in {config}, which {reason}")
    return index
