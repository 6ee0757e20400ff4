"""Which files of a repository make up its pipeline, and whether this server runs such a pipeline at all."""

import re
from collections.abc import Collection, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

from sd_api.models.allowed_classes import shown, why_refused
from sd_api.models.sources import MODEL_INDEX

# The pipelines that most models are for, as model_index.json names them; these are known without importing torch.
SD_PIPELINES = frozenset(
    f"StableDiffusion{operation}Pipeline" for operation in ("", "Img2Img", "Inpaint", "InstructPix2Pix")
)
SDXL_PIPELINES = frozenset(f"StableDiffusionXL{operation}Pipeline" for operation in ("", "Img2Img", "Inpaint"))

# What such a pipeline cannot do without. Those of other pipelines are asked of their classes.
_REQUIRED = {
    **dict.fromkeys(SD_PIPELINES, frozenset({"scheduler", "text_encoder", "tokenizer", "unet", "vae"})),
    **dict.fromkeys(SDXL_PIPELINES, frozenset({"scheduler", "unet", "vae"})),
}

# What names Python code of a repository, in the index or in the configuration of a part.
CODE_KEYS = ("auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code", "_module")

# The last one is how a language model's messages are written, which transformers reads in a sandbox.
_CONFIGS = (".json", ".txt", ".model", ".jinja")
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
    modules = {f"{part}/{module}.py" for part, (module, _) in parts(index)}
    if isinstance(class_name, list) or not modules.isdisjoint(names) or any(index.get(key) for key in CODE_KEYS):
        return (
            "needs Python code of its own, which this server does not run: such code could do anything "
            "on this machine. Choose another model."
        )
    if index.get("requires_aesthetics_score"):
        return (
            "is a refiner: it only improves what Stable Diffusion XL has begun, and cannot draw from a prompt alone. "
            "Choose the base model instead; it makes whole pictures."
        )
    if _required_parts(class_name) is None:
        return (
            f"is a model for {shown(class_name)}, which this server does not run. It runs Stable Diffusion 1, 2 and "
            "XL, and every other pipeline that diffusers knows for drawing from text."
        )
    if faults := list(_entry_faults(index)):
        return f"is refused: {faults[0]}."
    return None


def missing_parts(index: Mapping[str, Any]) -> list[str]:
    """The parts that the pipeline of an index cannot do without, and that the index does not name."""
    return sorted((_required_parts(index.get("_class_name")) or frozenset()) - {part for part, _ in parts(index)})


def _required_parts(class_name: object) -> frozenset[str] | None:
    """The parts that a pipeline cannot do without; None if this server does not run it."""
    if not isinstance(class_name, str):
        return None
    if class_name in _REQUIRED:
        return _REQUIRED[class_name]
    # Imported only where it must be, because it takes seconds.
    from sd_api.models.families.registry import family_named

    if (family := family_named(class_name)) is None:
        return None
    pipeline: Any = family.loading_class(class_name)
    arguments = signature(pipeline).parameters.values()
    needed = {argument.name for argument in arguments if argument.default is Parameter.empty}
    return frozenset(needed - set(pipeline._optional_components))


def _entry_faults(index: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the parts that an index names."""
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        match value:
            case [None, None] | [int() | float(), *_]:
                # A part that the model does without, or numbers for the pipeline.
                continue
            case [str(library), str(class_name)]:
                if not name.isidentifier():
                    yield f"{shown(name)!r} in its {MODEL_INDEX} is no name of a part"
                elif reason := why_refused(library, class_name):
                    yield f"its {name} {reason}"
            case _:
                yield f"its {shown(name)} should be a library and a class, and is {shown(value)}"


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
    for part, _ in parts(index):
        files = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        best_first = (_HALF, _FULL, _PICKLED) if half else (_FULL, _HALF, _PICKLED)
        kinds = ([name for name in files if re.fullmatch(kind, name)] for kind in best_first)
        weights = next(filter(None, kinds), [])
        configs = [name for name in files if (name == "config.json" if weights else name.endswith(_CONFIGS))]
        chosen += [f"{part}/{name}" for name in configs + weights]
    return chosen


def is_pickled_weights(name: str) -> bool:
    """Whether a file of a part holds its weights in the format that was in use before safetensors."""
    return re.fullmatch(_PICKLED, name) is not None


def parts(index: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The names of the pipeline's parts with their library and class; those that it does without are left out."""
    for name, value in index.items():
        match value:
            case [str(library), str(class_name)] if not name.startswith("_"):
                yield name, (library, class_name)
