"""Parses the names of models: a model on the Hugging Face hub, a directory or a single file."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public by its documentation

from sd_api.errors import ModelUnavailable, UnknownModel
from sd_api.models.folders import listed

log = logging.getLogger(__name__)

BUILTIN_MODEL = Path(__file__).parent / "builtin"
# The configurations of the components of Stable Diffusion 1.x, and its tokenizer.
SD1_CONFIG = Path(__file__).parent / "sd1_config"
MODEL_INDEX = "model_index.json"
PART_CONFIG = "config.json"
FILE_SUFFIXES = (".gguf", ".sft", ".safetensors", ".ckpt")

# Models that their publisher removed from the hub, and the copies of the community.
SUCCESSORS = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
}

_EXAMPLE = "CompVis/stable-diffusion-v1-4"
_MAX_LISTED_ENTRIES = 8

# What browsers and other programs add to the name of a file that is not downloaded to its end.
_UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".incomplete", ".aria2", ".opdownload")


@dataclass(frozen=True)
class HubModel:
    """A model on the Hugging Face hub.

    Attributes:
        repo_id: ``name`` or ``organization/name``.
    """

    repo_id: str

    @property
    def label(self) -> str:
        """The name for people and for the metadata of pictures."""
        return self.repo_id

    def __str__(self) -> str:
        return self.repo_id


@dataclass(frozen=True)
class _LocalModel:
    path: Path

    @property
    def label(self) -> str:
        """The name for people and for the metadata of pictures, without the folders of this machine."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)


class ModelDirectory(_LocalModel):
    """A directory in the diffusers format: the one with ``model_index.json``."""


class ModelFile(_LocalModel):
    """A single file with weights: of a whole model, or of its largest part. What it holds, its content says."""


class PartDirectory(_LocalModel):
    """A directory with one part of a model: the one with its ``config.json``."""


ModelSource = HubModel | ModelDirectory | ModelFile
PartSource = ModelSource | PartDirectory


def parse_source(name: str | Path) -> ModelSource:
    """Parse a model's name; a directory or file that exists has precedence over a model on the hub.

    Args:
        name: a path, where ``~`` is the user's home, or a name on the hub.

    Raises:
        ModelUnavailable: the name is none of the three; the message suggests which one was probably meant.
    """
    text = str(name)
    path = Path(os.path.expanduser(text))
    if not text.strip():
        raise ModelUnavailable(f"no model is named; {_valid_names()}")
    if os.path.isdir(path):
        if os.path.islink(path / MODEL_INDEX) and not os.path.exists(path / MODEL_INDEX):
            raise ModelUnavailable(_explain_link(path / MODEL_INDEX))
        if not os.path.isfile(path / MODEL_INDEX):
            raise ModelUnavailable(f"{path} is no diffusers model: no {MODEL_INDEX} is in it; it {_contents(path)}")
        return ModelDirectory(path)
    is_file_name = path.suffix.lower() in FILE_SUFFIXES
    if os.path.isfile(path):
        if path.suffix.lower() in _UNFINISHED:
            raise ModelUnavailable(f"{path} is an unfinished download; let the program that began it finish it")
        if not is_file_name:
            raise ModelUnavailable(f"{path} is no model file; {_valid_names()}")
        return ModelFile(path)
    if is_file_name or not is_repo_id(text):
        raise ModelUnavailable(_explain_missing(text, path, "file" if is_file_name else "directory"))
    return HubModel(_successor(text))


def parse_part(name: str) -> PartSource:
    """Parse the name of a part of a model, such as an autoencoder, or of a model that has such a part.

    Args:
        name: See ``parse_source``; a directory may also be that of the part alone.

    Raises:
        ModelUnavailable: The name is none of these.
    """
    path = Path(os.path.expanduser(name))
    return PartDirectory(path) if os.path.isfile(path / PART_CONFIG) else parse_source(name)


def hub_model(repo_id: str) -> HubModel:
    """Parse the name of a model on the hub, which is never taken for a path.

    Raises:
        UnknownModel: no model on the hub can have that name.
    """
    if not is_repo_id(repo_id):
        raise UnknownModel(f"{repo_id[:100]!r} is no name of a model on the Hugging Face hub, such as {_EXAMPLE}.")
    return HubModel(_successor(repo_id))


def is_repo_id(text: str) -> bool:
    """Whether a model on the hub may have this id."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _successor(repo_id: str) -> str:
    successor = SUCCESSORS.get(repo_id, repo_id)
    if successor != repo_id:
        log.warning("%s was removed from the Hugging Face hub; using %s, which is the same", repo_id, successor)
    return successor


def _explain_link(path: Path) -> str:
    return f"{path} is a link to {os.readlink(path)}, which is not there; download it again"


def _explain_missing(text: str, path: Path, kind: str) -> str:
    if os.path.islink(path):
        return _explain_link(path)
    if kind == "directory" and not {"/", "\\"} & set(text):
        return f"{text} is neither in {Path.cwd()} nor a valid name of a model on the hub; {_valid_names()}"
    nearest = next((str(parent) for parent in path.absolute().parents if os.path.isdir(parent)), "none of it")
    return f"the {kind} {path} does not exist; what exists of this path is {nearest}"


def _contents(directory: Path) -> str:
    try:
        entries = sorted(entry.name + "/" * entry.is_dir() for entry in directory.iterdir())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"contains {listed(entries, _MAX_LISTED_ENTRIES)}" if entries else "contains nothing"


def _valid_names() -> str:
    return (
        f"valid are a directory that contains {MODEL_INDEX}, a {', '.join(FILE_SUFFIXES[:-1])} or {FILE_SUFFIXES[-1]} "
        "file, "
        f"or a name on the Hugging Face hub, such as {_EXAMPLE}"
    )
