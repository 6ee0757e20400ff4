"""The folder of ControlNets and T2I adapters, and what their files tell; knows no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sd_api.models.adapters.files import MAX_LISTED, AdapterFile
from sd_api.models.adapters.lora_files import architecture_of
from sd_api.models.bounded_files import FileFaultError, check_safetensors, read_object
from sd_api.models.headers import read_header as read_tensors
from sd_api.models.sources import PART_CONFIG

ControlKind = Literal["ControlNet", "union ControlNet", "T2I adapter"]

_CLASSES: Mapping[str, ControlKind] = {
    "ControlNetModel": "ControlNet",
    "ControlNetUnionModel": "union ControlNet",
    "T2IAdapter": "T2I adapter",
}

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")

# The weights in a folder of diffusers, the best first.
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")

# The layers that read the prompt.
_READS_PROMPT = re.compile(r"attn2\.to_k\.weight$")

# The channels of the first layer behind the pixels of T2I adapters, in grey and in colours.
_T2I_WIDTHS = {64: 768, 192: 768, 256: 2048, 768: 2048}


@dataclass(frozen=True)
class ControlHeader:
    """What a file tells before it is loaded.

    Attributes:
        kind: What it is; None where its file does not tell before it is converted.
        width: Of the prompts of the model that it was made for; None where it does not tell.
        problem: Why it cannot be used, as the end of a sentence; None if it can.
    """

    kind: ControlKind | None = None
    width: int | None = None
    problem: str | None = None

    @property
    def architecture(self) -> str | None:
        """The architecture that it was made for, as far as its width tells."""
        return None if self.width is None else architecture_of(self.width)


def list_controls(folder: Path | None) -> list[AdapterFile]:
    """The files of weights in a folder and the folders of diffusers in it, by name; looked for anew by each call."""
    if folder is None or not folder.is_dir():
        return []
    found: list[AdapterFile] = []
    owned: set[Path] = set()
    # A folder comes before what is in it.
    for path in sorted(folder.rglob("*")):
        if len(found) == MAX_LISTED or path.parent in owned:
            continue
        name = path.relative_to(folder)
        if path.is_dir() and (weights := weights_of(path)) is not None:
            owned.add(path)
            found.append(_file(name.as_posix(), path, weights))
        elif path.suffix.lower() in _SUFFIXES and path.is_file():
            found.append(_file(name.with_suffix("").as_posix(), path, path))
    return found


def weights_of(folder: Path) -> Path | None:
    """The weights of a folder of diffusers; None where it is no such folder."""
    if not (folder / PART_CONFIG).is_file():
        return None
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def find_control(folder: Path | None, name: str) -> AdapterFile | None:
    """The one of a name: its path in the folder, or its last part alone where only one has it.

    Other programs write a hash in square brackets behind it, which is left out.
    """
    files = list_controls(folder)
    wanted = re.sub(r"\s*\[[0-9a-fA-F]+\]$", "", name.strip())
    for suffix in _SUFFIXES:
        wanted = wanted.removesuffix(suffix)
    if (exact := next((file for file in files if file.name == wanted), None)) is not None:
        return exact
    alike = [file for file in files if file.name.rpartition("/")[2].casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None


@lru_cache(maxsize=1024)
def read_control(file: AdapterFile) -> ControlHeader:
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
    width = next((shape[1] for name, shape in shapes.items() if _READS_PROMPT.search(name)), None)
    if any(name.endswith("task_embedding") for name in shapes):
        return ControlHeader("union ControlNet", width)
    if any("controlnet_cond_embedding." in name or "input_hint_block." in name for name in shapes):
        return ControlHeader("ControlNet", width)
    bare = {name.removeprefix("adapter."): shape for name, shape in shapes.items()}
    if "conv_in.weight" in bare and any(name.startswith("body.0.") for name in bare):
        return ControlHeader("T2I adapter", _T2I_WIDTHS.get(bare["conv_in.weight"][1]))
    return ControlHeader(problem="its file holds no ControlNet and no T2I adapter")


def described_controls(folder: Path | None) -> list[dict[str, Any]]:
    """Those of a folder for people and their programs; those that cannot be used say why."""
    return [
        {"name": file.name, "kind": header.kind, "architecture": header.architecture, "problem": header.problem}
        for file in list_controls(folder)
        for header in (read_control(file),)
    ]


def _of_folder(folder: Path) -> ControlHeader:
    config = read_object(folder / PART_CONFIG)
    kind = _CLASSES.get(str(config.get("_class_name")))
    if kind is None:
        return ControlHeader(problem=f"its folder holds a {str(config.get('_class_name'))[:60]}")
    weights = weights_of(folder)
    assert weights is not None  # noqa: S101 - it is why the folder is listed
    check_safetensors(weights)
    width = config.get("cross_attention_dim")
    if kind == "T2I adapter":
        width = 2048 if config.get("adapter_type") == "full_adapter_xl" else 768
    return ControlHeader(kind, width if isinstance(width, int) else None)


def _file(name: str, path: Path, weights: Path) -> AdapterFile:
    state = weights.stat()
    return AdapterFile(name, path, state.st_mtime_ns, state.st_size)
