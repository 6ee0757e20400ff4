"""What the headers of LoRAs tell; knows no torch."""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

from safetensors import safe_open

from sd_api.models.adapters.reading import once
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import FileFaultError, check_safetensors
from sd_api.models.folders import LORA, FoundFile, ModelFolders

# The keys of the layers that read the prompt, in the formats of kohya's scripts, of diffusers and of PEFT.
_READS_PROMPT = re.compile(r"attn2[._](?:processor[._])?to_k(?:_lora)?[._](?:lora_)?(?:down|A)[._]")

# Characters of a file's metadata that are kept. Those of trainings have some ten thousand.
_METADATA = 32_768

# Trigger words that are shown.
_WORDS = 20
# The libraries use the names of layers as regular expressions, so there must be no other signs in them.
_NAME = re.compile(r"[\w.-]+", re.ASCII)
# What follows the name of a layer in the names of its tensors, in all of these formats.
_OF_LAYER = re.compile(r"[._](?:lora|alpha|dora|processor|hada|lokr)")

# What LyCORIS and its relatives write besides, by the ends of their tensors' names. DoRA of PEFT's own format is read.
_NOT_READ = {
    ".on_input": "(IA)³",
    ".oft_blocks": "OFT",
    ".oft_diag": "OFT",
    ".diff": "full differences of weights",
    ".diff_b": "full differences of weights",
    ".w_norm": "norms",
    ".b_norm": "norms",
    ".b2.weight": "GLoRA",
    ".dora_scale": "kohya's DoRA",
}

# What layers of UNets and of transformers are called by all programs.
_OF_UNET = re.compile(r"^unet[._]|(?:down|up|mid|input|output|middle)_blocks?[._]")
_OF_TRANSFORMER = re.compile(
    r"^transformer[._]|(?:double|single|joint|transformer)_blocks[._]|diffusion_model\.layers\."
)

# A matrix (LoHa), or one of two whose widths have that of the prompt as their product (LoKr).
_PROMPT_WIDTHS = re.compile(r"attn2[._](?:processor[._])?to_k\.(hada_w1|lokr_w[12])(?:_b)?$")

# The width of a prompt's embeddings in each architecture.
_ARCHITECTURES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}

# What metadata calls the architectures, as its words begin; the longer ones first.
_SAID = {
    "stable-diffusion-v1": "Stable Diffusion 1",
    "sd_v1": "Stable Diffusion 1",
    "stable-diffusion-v2": "Stable Diffusion 2",
    "sd_v2": "Stable Diffusion 2",
    "stable-diffusion-xl": "Stable Diffusion XL",
    "sdxl": "Stable Diffusion XL",
    "stable-diffusion-3": "Stable Diffusion 3",
    "sd3": "Stable Diffusion 3",
    "flux-2": "FLUX.2",
    "flux2": "FLUX.2",
    "flux": "FLUX.1",
    "qwen-image": "Qwen-Image",
    "qwen_image": "Qwen-Image",
    "z-image": "Z-Image",
    "zimage": "Z-Image",
}

# What the makers of LoRAs for few steps call theirs, with the fields that they need. Each begins with the noisiest
# step: without ``eta``, tcd is DDIM with timesteps that do (arXiv:2402.19159). The first that fits counts.
_FEW_STEPS: Mapping[str, Mapping[str, Any]] = {
    r"(hyper-?flux|flux.*(turbo|hyper))(?![a-z])": {"steps": 8, "guidance": 3.5},
    r"qwen.*lightning(?![a-z])": {"steps": 8, "guidance": 1.0},
    r"lcm(?![a-z])": {"steps": 4, "guidance": 1.0, "scheduler": "lcm"},
    r"tcd(?![a-z])": {"steps": 4, "guidance": 1.0, "scheduler": "tcd"},
    r"lightning(?![a-z])": {"steps": 4, "guidance": 1.0, "scheduler": "euler-trailing"},
    r"hyper-?sd": {"steps": 4, "guidance": 1.0, "scheduler": "tcd"},
    r"dmd2": {"steps": 4, "guidance": 1.0, "scheduler": "lcm"},
    r"turbo(?![a-z])": {"steps": 4, "guidance": 1.0, "scheduler": "euler-a-trailing"},
}
_STEPS = re.compile(r"(\d{1,2})[ _-]?steps?", re.IGNORECASE)


@dataclass(frozen=True)
class LoraHeader:
    """What the header of a file tells.

    Attributes:
        width: Of the embeddings that it was trained with; None where it does not tell.
        said: The architecture that its metadata names; None where it names none.
        words: That it was trained to answer to, the most frequent first.
        alias: What its maker called it; empty where its metadata does not say.
        metadata: As texts; without the longest, if all of them take too much.
        hint: The fields that a LoRA for few steps needs, by their canonical names; empty for others.
        layers: How many layers of a model it changes.
        denoiser: The kind of network that it changes: ``unet`` or ``transformer``; None where its names do not tell.
    """

    width: int | None
    said: str | None
    words: tuple[str, ...]
    alias: str
    metadata: Mapping[str, str]
    hint: Mapping[str, Any]
    layers: int
    denoiser: str | None

    @property
    def architecture(self) -> str | None:
        """The architecture that it was made for, as far as its width or its metadata tells."""
        return self.said if self.width is None else architecture_of(self.width)


def architecture_of(width: int) -> str:
    """The architecture whose prompts' embeddings are so wide."""
    return _ARCHITECTURES.get(width, f"a model whose prompts are {width} wide")


@once
def read_header(file: FoundFile) -> LoraHeader:
    """What a file's header tells.

    Raises:
        FileFaultError: It is damaged, its header is larger than allowed, it has what is no name of a layer, or it is
            of a kind that is not read.
    """
    check_safetensors(file.path)
    with safe_open(file.path, framework="numpy") as tensors:
        metadata = tensors.metadata() or {}
        keys = list(tensors.keys())
        shapes = {each: tensors.get_slice(each).get_shape() for each in keys if "attn2" in each}
    if (odd := next((each for each in keys if not _NAME.fullmatch(each)), None)) is not None:
        raise FileFaultError(file.path, f"it has the tensor {shown(odd)!r}, which is no name of a layer")
    for end, kind in _NOT_READ.items():
        if any(each.endswith(end) for each in keys):
            raise FileFaultError(file.path, f"it has layers of a kind that is not read: {kind}")
    layers = {_OF_LAYER.split(each, maxsplit=1)[0] for each in keys}
    denoiser = _denoiser(layers)
    names = [file.name, metadata.get("ss_output_name", ""), metadata.get("modelspec.title", "")]
    return LoraHeader(
        width=_width(shapes),
        said=_said(metadata),
        words=_trigger_words(metadata),
        alias=_one_line(names[1]),
        metadata=_kept(metadata),
        hint=_hint("\n".join(names), denoiser),
        layers=len(layers),
        denoiser=denoiser,
    )


def find_lora(folders: ModelFolders, name: str) -> FoundFile | None:
    """The LoRA of a name: its file's, see ``ModelFolders``, or its maker's, where only one file has it."""
    if (found := folders.find(LORA, name)) is not None:
        return found
    alike = [file for file in folders.files(LORA) if _alias(file).casefold() == name.casefold() != ""]
    return alike[0] if len(alike) == 1 else None


def _kept(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The metadata without the longest texts, where those of many files would fill the memory."""
    shortest = sorted(metadata.items(), key=lambda pair: len(pair[1]))
    ends = list(accumulate(len(key) + len(value) for key, value in shortest))
    kept = dict(shortest[: bisect_right(ends, _METADATA)])
    return {key: value for key, value in metadata.items() if key in kept}


def _alias(file: FoundFile) -> str:
    try:
        return read_header(file).alias
    except FileFaultError:
        return ""


def _width(shapes: Mapping[str, Sequence[int]]) -> int | None:
    """The width of the prompts that the layers of these names and shapes read."""
    key = next((each for each in shapes if _READS_PROMPT.search(each) and len(shapes[each]) > 1), None)
    if key is not None:
        return shapes[key][1]
    key = next((each for each in shapes if _PROMPT_WIDTHS.search(each)), None)
    if key is None:
        return None
    # Those of one layer.
    begin = key.rpartition(".")[0] + "."
    own = [shapes[each] for each in shapes if each.startswith(begin) and _PROMPT_WIDTHS.search(each)]
    return prod(shape[1] for shape in own) if all(len(shape) > 1 for shape in own) else None


def _said(metadata: Mapping[str, str]) -> str | None:
    said = metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version") or ""
    known = next((name for begin, name in _SAID.items() if said.lower().startswith(begin)), None)
    return known or _one_line(said.partition("/")[0]) or None


def _trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The phrase that the metadata names, else the tags that the pictures of the training had most often."""
    words = metadata.get("modelspec.trigger_phrase", "").split(",")
    if not any(word.strip() for word in words):
        words = _frequent_tags(metadata.get("ss_tag_frequency", ""))
    return tuple(line for word in words if (line := _one_line(word)))[:_WORDS]


def _frequent_tags(text: str) -> list[str]:
    """The tags of kohya's scripts, which count those of each folder of pictures: the most frequent first."""
    counts: Counter[str] = Counter()
    try:
        for folder in json.loads(text or "{}").values():
            counts.update({str(tag): int(count) for tag, count in folder.items()})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [tag for tag, _ in counts.most_common(_WORDS)]


def _one_line(text: str) -> str:
    return "".join(character for character in text.strip()[:100] if character.isprintable())


def _denoiser(layers: Iterable[str]) -> str | None:
    found = list(layers)
    # UNets have transformer blocks as well.
    for name, pattern in (("unet", _OF_UNET), ("transformer", _OF_TRANSFORMER)):
        if any(pattern.search(layer) for layer in found):
            return name
    return None


def _hint(names: str, denoiser: str | None) -> Mapping[str, Any]:
    kind = next((kind for kind in _FEW_STEPS if re.search(f"(?<![a-z]){kind}", names, re.IGNORECASE)), None)
    if kind is None:
        return {}
    steps = _STEPS.search(names)
    hint = {**_FEW_STEPS[kind], **({} if steps is None else {"steps": int(steps[1])})}
    # The schedulers are those of UNets; transformers follow a flow, with their own.
    return {name: value for name, value in hint.items() if name != "scheduler" or denoiser != "transformer"}


def described_loras(folders: ModelFolders) -> list[dict[str, Any]]:
    """The LoRAs for people and their programs; those that cannot be read say why."""
    return [_described(file) for file in folders.files(LORA)]


def _described(file: FoundFile) -> dict[str, Any]:
    try:
        header = read_header(file)
    except FileFaultError as fault:
        problem = str(fault).removeprefix(f"{file.path}: ")
        none: dict[str, Any] = {"architecture": None, "words": [], "hint": {}, "alias": "", "metadata": {}}
        return {"name": file.name, **none, "problem": problem}
    return {
        "name": file.name,
        "alias": header.alias,
        "metadata": dict(header.metadata),
        "architecture": header.architecture,
        "words": list(header.words),
        "hint": dict(header.hint),
        "problem": None,
    }
