"""Loads a single-file checkpoint, in the layout of the first Stable Diffusion release, as a pipeline.

Such a file contains weights only. The configuration and the tokenizer of Stable Diffusion 1.x are part of this package;
those of other architectures are downloaded from the hub once.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, pipelines
from diffusers.loaders.single_file import load_single_file_sub_model
from diffusers.loaders.single_file_utils import SingleFileComponentError
from huggingface_hub import snapshot_download

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.architectures import Architecture, identify
from sd_api.models.bounded_files import FileFaultError, read_object
from sd_api.models.pipeline_files import parts, why_unfit
from sd_api.models.sources import MODEL_INDEX, SD1_CONFIG
from sd_api.models.state_dict import read_state_dict

CONFIG_FILES = ["*.json", "*.txt"]

# The safety filter follows from the configuration of the server, not from the file.
NO_FILTER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def load_checkpoint_file(
    path: Path, *, torch_dtype: torch.dtype, token: str | None = None, sd1_config: Path = SD1_CONFIG
) -> DiffusionPipeline:
    """Load a model from a single file; no code in it is run.

    Args:
        path: a ``.safetensors`` or ``.ckpt`` file.
        torch_dtype: the type of the loaded weights.
        token: the hub's token, for an architecture whose configuration is downloaded.
        sd1_config: a directory with the configurations of the components and the tokenizer of Stable Diffusion 1.x.

    Returns:
        A pipeline on the CPU, without a safety checker. Its weights may be memory-mapped from the file.

    Raises:
        ModelUnavailable: the file is damaged, incomplete or not a model that this server runs, or the
            configuration of its architecture cannot be downloaded.
    """
    checkpoint = read_checkpoint(path)
    architecture = identify(path, checkpoint)
    config = _fetch_config(path, architecture, token) if architecture.repo_id else sd1_config
    components: dict[str, Any] = {}
    for name, entry in parts(_read_index(path, config)):
        if name not in NO_FILTER:
            changes = {"in_channels": architecture.unet_channels} if name == "unet" else {}
            with _explained(path, architecture, name):
                components[name] = _load_component(name, entry, checkpoint, config, torch_dtype, changes)
    accepted = signature(architecture.pipeline_class).parameters
    components |= {name: value for name, value in NO_FILTER.items() if name in accepted}
    return architecture.pipeline_class(**components)


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a single file by the names that the first Stable Diffusion release gave them.

    Some tools for merging models omit a level from the names of the text encoder's tensors; it is added.

    Raises:
        ModelUnavailable: the file is damaged, or contains Python code.
    """
    short, full = "cond_stage_model.transformer.", "cond_stage_model.transformer.text_model."

    def full_name(name: str) -> str:
        return full + name.removeprefix(full).removeprefix(short) if name.startswith(short) else name

    return {full_name(name): tensor for name, tensor in read_state_dict(path).items()}


def _load_component(
    name: str,
    class_path: tuple[str, str],
    checkpoint: dict[str, torch.Tensor],
    config: Path,
    torch_dtype: torch.dtype,
    changes: dict[str, int],
) -> Any:
    library_name, class_name = class_path
    component = load_single_file_sub_model(
        library_name,
        class_name,
        name,
        checkpoint,
        pipelines,
        is_pipeline_module=False,
        cached_model_config_path=str(config),
        local_files_only=True,
        torch_dtype=torch_dtype,
        **changes,
    )
    if isinstance(component, torch.nn.Module) and any(weight.is_meta for weight in component.parameters()):
        raise NotImplementedError
    return component


@contextmanager
def _explained(path: Path, architecture: Architecture, part: str) -> Iterator[None]:
    """Translate the errors of diffusers for a checkpoint that does not fit the architecture's configuration."""
    try:
        yield
    except NotImplementedError:
        # Weights that the file does not contain stay on the meta device, and cannot be moved.
        raise ModelUnavailable(
            f"{path} is incomplete: weights of its {part} are missing. Get the complete file of this model."
        ) from None
    except (SingleFileComponentError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelUnavailable(
            f"{path} seems to hold {architecture.name}, but its {part} is of another architecture, which "
            f"this server cannot run: {str(error).split('. ')[0]}"
        ) from error


def _read_index(path: Path, config: Path) -> dict[str, Any]:
    """The parts of the architecture's configuration, which may come from the hub."""
    try:
        index = read_object(config / MODEL_INDEX)
    except FileFaultError as fault:
        raise ModelUnavailable(f"{path} needs another file: {fault}") from None
    if reason := why_unfit(index, ()):
        raise ModelUnavailable(f"{path} needs the configuration in {config}, which {reason}")
    return index


def _fetch_config(path: Path, architecture: Architecture, token: str | None) -> Path:
    repo_id = str(architecture.repo_id)
    with suppress(FileNotFoundError):
        return _snapshot(repo_id, local_files_only=True)
    try:
        with hub.conversation(repo_id, token):
            return _snapshot(repo_id, token=token)
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"{path} is a {architecture.name} model, which needs the small configuration files of "
            f"https://huggingface.co/{repo_id} once; from then on it needs no network. {error.message}"
        ) from None


def _snapshot(repo_id: str, **options: Any) -> Path:
    folder = Path(snapshot_download(repo_id, allow_patterns=CONFIG_FILES, **options))
    if not (folder / MODEL_INDEX).is_file():
        # Without network, the library also returns a folder into which only single files were downloaded.
        raise FileNotFoundError(folder / MODEL_INDEX)
    return folder
