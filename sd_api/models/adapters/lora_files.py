"""What the headers of LoRAs tell; knows no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from safetensors import safe_open

from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import FileFaultError, check_safetensors
from sd_api.models.folders import LORA, FoundFile, ModelFolders

# The keys of the layers that read the prompt, in the formats of kohya's scripts, of diffusers and of PEFT.
_READS_PROMPT = re.compile(r"attn2[._](?:processor[._])?to_k(?:_lora)?[._](?:lora_)?(?:down|A)[._]")

# The libraries use the names of layers as regular expressions, so there must be no other signs in them.
_NAME = re.compile(r"[\w.-]+", re.ASCII)
# What follows the name of a layer in the names of its tensors, in all of these formats.
_OF_LAYER = re.compile(r"[._](?:lora|alpha|dora|processor)")

# The width of a prompt's embeddings in each architecture.
_ARCHITECTURES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}

# What the makers of LoRAs for few steps call theirs, with the fields that they need.
_FEW_STEPS: Mapping[str, Mapping[str, Any]] = {
    "lcm": {"steps": 4, "guidance": 1.0},
    "lightning": {"steps": 4, "guidance": 1.0, "scheduler": "euler"},
    "hyper": {"steps": 4, "guidance": 1.0, "scheduler": "ddim"},
    "dmd2": {"steps": 4, "guidance": 1.0},
    "turbo": {"steps": 4, "guidance": 1.0, "scheduler": "euler-a"},
}
_STEPS = re.compile(r"(\d{1,2})[ _-]?steps?", re.IGNORECASE)


@dataclass(frozen=True)
class LoraHeader:
    """What the header of a file tells.

    Attributes:
        width: Of the embeddings that it was trained with; None where it does not tell.
        words: That it was trained to answer to, the most frequent first.
        hint: The fields that a LoRA for few steps needs, by their canonical names; empty for others.
        layers: How many layers of a model it changes.
    """

    width: int | None
    words: tuple[str, ...]
    hint: Mapping[str, Any]
    layers: int

    @property
    def architecture(self) -> str | None:
        """The architecture that it was made for, as far as its width tells."""
        return None if self.width is None else architecture_of(self.width)


def architecture_of(width: int) -> str:
    """The architecture whose prompts' embeddings are so wide."""
    return _ARCHITECTURES.get(width, f"a model whose prompts are {width} wide")


@lru_cache(maxsize=1024)
def read_header(file: FoundFile) -> LoraHeader:
    """What a file's header tells.

    Raises:
        FileFaultError: It is damaged, its header is larger than allowed, or it has what is no name of a layer.
    """
    check_safetensors(file.path)
    with safe_open(file.path, framework="numpy") as tensors:
        metadata = tensors.metadata() or {}
        names = list(tensors.keys())
        key = next((name for name in names if _READS_PROMPT.search(name)), None)
        shape = [] if key is None else tensors.get_slice(key).get_shape()
    if (odd := next((name for name in names if not _NAME.fullmatch(name)), None)) is not None:
        raise FileFaultError(file.path, f"it has the tensor {shown(odd)!r}, which is no name of a layer")
    layers = {_OF_LAYER.split(name, maxsplit=1)[0] for name in names}
    width = int(shape[1]) if len(shape) > 1 else None
    return LoraHeader(width, _trigger_words(metadata), _hint(file.name), len(layers))


def _trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    words = metadata.get("modelspec.trigger_phrase", "")
    return tuple(word.strip()[:100] for word in words.split(",")[:20] if word.strip())


def _hint(name: str) -> Mapping[str, Any]:
    file = name.rpartition("/")[2]
    kind = next((kind for kind in _FEW_STEPS if kind in file.lower()), None)
    if kind is None:
        return {}
    steps = _STEPS.search(file)
    return {**_FEW_STEPS[kind], **({} if steps is None else {"steps": int(steps[1])})}


def described_loras(folders: ModelFolders) -> list[dict[str, Any]]:
    """The LoRAs for people and their programs; those that cannot be read say why."""
    return [_described(file) for file in folders.files(LORA)]


def _described(file: FoundFile) -> dict[str, Any]:
    try:
        header = read_header(file)
    except FileFaultError as fault:
        problem = str(fault).removeprefix(f"{file.path}: ")
        return {"name": file.name, "architecture": None, "words": [], "hint": {}, "problem": problem}
    return {
        "name": file.name,
        "architecture": header.architecture,
        "words": list(header.words),
        "hint": dict(header.hint),
        "problem": None,
    }
