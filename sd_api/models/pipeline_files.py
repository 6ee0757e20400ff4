"""Which files of a repository make up its pipeline, and whether this server runs such a pipeline at all."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# The pipelines that most models are for, as model_index.json names them; these are known without importing torch.
SD_PIPELINES = frozenset(
    f"StableDiffusion{operation}Pipeline" for operation in ("", "Img2Img", "Inpaint", "InstructPix2Pix")
)
SDXL_PIPELINES = frozenset(f"StableDiffusionXL{operation}Pipeline" for operation in ("", "Img2Img", "Inpaint"))

_CONFIGS = (".json", ".txt", ".model")
_STEM = "(diffusion_pytorch_model|pytorch_model|model)"
_SHARD = r"(-\d+-of-\d+)?"
_FULL = rf"{_STEM}{_SHARD}\.safetensors(\.index\.json)?"
_HALF = rf"{_STEM}(\.fp16{_SHARD}|{_SHARD}\.fp16)\.safetensors|{_STEM}\.safetensors\.index\.fp16\.json"
_PICKLED = rf"{_STEM}{_SHARD}\.bin(\.index\.json)?"


def why_unfit(index: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Why this server does not run a model; no weights are loaded to find out.

    Args:
        index: the content of its ``model_index.json``.
        names: the files that it has, relative to its folder, with slashes.

    Returns:
        The rest of a sentence that starts with the model's name; None if the server runs it.
    """
    class_name = index.get("_class_name")
    modules = {f"{part}/{module}.py" for part, (module, _) in _parts(index)}
    if isinstance(class_name, list) or not modules.isdisjoint(names):
        return (
            "needs Python code of its own, which this server does not run: such code could do anything "
            "on this machine. Choose another model."
        )
    if index.get("requires_aesthetics_score"):
        return (
            "is a refiner: it only improves what Stable Diffusion XL has begun, and cannot draw from a prompt alone. "
            "Choose the base model instead; it makes whole pictures."
        )
    if class_name not in SD_PIPELINES | SDXL_PIPELINES and not _has_family(str(class_name)):
        return (
            f"is a model for {class_name}, which this server does not run. It runs Stable Diffusion 1, 2 and XL, "
            "and every other pipeline that diffusers knows for drawing from text."
        )
    return None


def _has_family(class_name: str) -> bool:
    # Imported only where it must be, because it takes seconds.
    from sd_api.models.families.registry import family_named

    return family_named(class_name) is not None


def needed_files(index: Mapping[str, Any], names: Collection[str], *, half: bool) -> list[str]:
    """Choose what to download: the parts that the index lists, with one kind of weights for each.

    The other precision is taken where the publisher left out the one that is wanted.

    Args:
        index: the content of ``model_index.json``.
        names: the files that the repository has; with slashes, as the hub writes them.
        half: whether weights in half precision are wanted: half as much to download, and nothing is lost
            where the model runs in half precision.

    Returns:
        The chosen ones, without ``model_index.json`` itself.
    """
    chosen: list[str] = []
    for part, _ in _parts(index):
        files = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        best_first = (_HALF, _FULL, _PICKLED) if half else (_FULL, _HALF, _PICKLED)
        kinds = ([name for name in files if re.fullmatch(kind, name)] for kind in best_first)
        weights = next(filter(None, kinds), [])
        configs = [name for name in files if (name == "config.json" if weights else name.endswith(_CONFIGS))]
        chosen += [f"{part}/{name}" for name in configs + weights]
    return chosen


def _parts(index: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The names of the pipeline's parts with their library and class; those that it does without are left out."""
    for name, value in index.items():
        if name != "_class_name" and isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            yield name, value
