"""What the files of ControlNets and T2I adapters tell; knows no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.adapters.reading import once
from sd_api.models.bounded_files import FileFaultError, check_safetensors, read_object
from sd_api.models.folders import CONTROLNET, FoundFile, ModelFolders
from sd_api.models.headers import read_header as read_tensors
from sd_api.models.sources import PART_CONFIG

ControlKind = Literal["ControlNet", "union ControlNet", "T2I adapter"]

_CLASSES: Mapping[str, ControlKind] = {
    "ControlNetModel": "ControlNet",
    "ControlNetUnionModel": "union ControlNet",
    "T2IAdapter": "T2I adapter",
    "FluxControlNetModel": "ControlNet",
    "SD3ControlNetModel": "ControlNet",
    "QwenImageControlNetModel": "ControlNet",
    "SanaControlNetModel": "ControlNet",
    "ZImageControlNetModel": "ControlNet",
}

OF_TRANSFORMERS: Mapping[str, str] = {
    "FluxControlNetModel": "FLUX.1",
    "SD3ControlNetModel": "Stable Diffusion 3",
    "QwenImageControlNetModel": "Qwen-Image",
    "SanaControlNetModel": "Sana",
    "ZImageControlNetModel": "Z-Image",
}
"""The architectures of the ControlNets that are made for transformers, by their classes in diffusers."""

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
"""The weights in a folder of diffusers, the best first."""

# What a union ControlNet for FLUX.1 knows of each kind of maps.
_MODES = "controlnet_mode_embedder.weight"

# The layers that read the prompt.
_READS_PROMPT = re.compile(r"attn2\.to_k\.weight$")

# The channels of the first layer behind the pixels of T2I adapters, in grey and in colours.
_T2I_WIDTHS = {64: 768, 192: 768, 256: 2048, 768: 2048}


@dataclass(frozen=True)
class ControlHeader:
    """What a file tells before it is loaded.

    Attributes:
        kind: What it is; None where its file does not tell before it is converted.
        class_name: Its class in diffusers; None where it is not known.
        width: Of the prompts of the model that it was made for; None where it does not tell.
        problem: Why it cannot be used, as the end of a sentence; None if it can.
    """

    kind: ControlKind | None = None
    class_name: str | None = None
    width: int | None = None
    problem: str | None = None

    @property
    def architecture(self) -> str | None:
        """The architecture that it was made for, as far as its class and its width tell."""
        if self.class_name is not None and self.class_name in OF_TRANSFORMERS:
            return OF_TRANSFORMERS[self.class_name]
        return None if self.width is None else architecture_of(self.width)


def find_control(folders: ModelFolders, name: str) -> FoundFile | None:
    """The one of a name; other programs write a hash in square brackets behind it, which is left out."""
    return folders.find(CONTROLNET, re.sub(r"\s*\[[0-9a-fA-F]+\]$", "", name.strip()))


@once
def read_control(file: FoundFile) -> ControlHeader:
    """What a file tells, its problem included."""
    try:
        if file.path.is_dir():
            return _of_folder(file.path)
        if file.path.suffix.lower() != ".safetensors":
            return ControlHeader()
        check_safetensors(file.path)
        return header_of({name: info.shape for name, info in read_tensors(file.path).tensors.items()})
    except FileFaultError as fault:
        return ControlHeader(problem=str(fault).removeprefix(f"{file.path}: "))


def header_of(shapes: Mapping[str, tuple[int, ...]]) -> ControlHeader:
    """What the names and shapes of a single file's tensors tell."""
    if (found := _of_transformer(shapes)) is not None:
        return ControlHeader("union ControlNet" if _MODES in shapes else "ControlNet", found)
    if any(name.startswith("double_blocks.") for name in shapes):
        return ControlHeader(problem="its file is in its authors' own format; use it as a folder of diffusers")
    width = next((shape[1] for name, shape in shapes.items() if _READS_PROMPT.search(name) and len(shape) > 1), None)
    if any(name.endswith("task_embedding") for name in shapes):
        return ControlHeader("union ControlNet", "ControlNetUnionModel", width)
    if any("controlnet_cond_embedding." in name or "input_hint_block." in name for name in shapes):
        return ControlHeader("ControlNet", "ControlNetModel", width)
    bare = {name.removeprefix("adapter."): shape for name, shape in shapes.items()}
    if "conv_in.weight" in bare and any(name.startswith("body.0.") for name in bare):
        return ControlHeader("T2I adapter", "T2IAdapter", _T2I_WIDTHS.get(sum(bare["conv_in.weight"][1:2])))
    return ControlHeader(problem="its file holds no ControlNet and no T2I adapter")


def _of_transformer(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The class of a ControlNet for a transformer with diffusers' names."""
    if "control_layers.0.after_proj.weight" in shapes:
        return "ZImageControlNetModel"
    if "controlnet_blocks.0.weight" not in shapes:
        return None
    if "pos_embed_input.proj.weight" in shapes:
        return "SD3ControlNetModel"
    if "controlnet_x_embedder.weight" not in shapes:
        return "SanaControlNetModel" if "input_block.weight" in shapes else None
    return "QwenImageControlNetModel" if "img_in.weight" in shapes else "FluxControlNetModel"


def described_controls(folders: ModelFolders) -> list[dict[str, Any]]:
    """All of them for people and their programs; those that cannot be used say why."""
    return [
        {"name": file.name, "kind": header.kind, "architecture": header.architecture, "problem": header.problem}
        for file in folders.files(CONTROLNET)
        for header in (read_control(file),)
    ]


def _of_folder(folder: Path) -> ControlHeader:
    config = read_object(folder / PART_CONFIG)
    class_name = str(config.get("_class_name"))
    kind = _CLASSES.get(class_name)
    if kind is None:
        return ControlHeader(problem=f"its folder holds a {class_name[:60]}")
    if config.get("num_mode") is not None:
        kind = "union ControlNet"
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        return ControlHeader(problem=f"its folder lacks {WEIGHTS[0]}")
    check_safetensors(weights)
    width = config.get("cross_attention_dim")
    if kind == "T2I adapter":
        width = 2048 if config.get("adapter_type") == "full_adapter_xl" else 768
    return ControlHeader(kind, class_name, width if isinstance(width, int) else None)
