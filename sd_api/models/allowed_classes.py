"""Which classes a model may name for its parts: those of diffusers and transformers that hold weights or read inputs.

A model's index names a library and a class for each part, and may come from anywhere. A name is looked up among what
the two libraries export; no other module is imported for it.
"""

from importlib import import_module
from inspect import isclass, ismodule
from types import ModuleType

from sd_api.generation.schedulers import SCHEDULERS

# The classes of most models, known without importing a library, because that takes seconds.
_KNOWN = {
    "diffusers": {"AutoencoderKL", "AutoencoderTiny", "UNet2DConditionModel"}
    | {choice.class_name for choice in SCHEDULERS.values()},
    "transformers": {
        "CLIPFeatureExtractor",
        "CLIPImageProcessor",
        "CLIPTextModel",
        "CLIPTextModelWithProjection",
        "CLIPTokenizer",
        "CLIPTokenizerFast",
        "CLIPVisionModelWithProjection",
    },
    "stable_diffusion": {"StableDiffusionSafetyChecker"},
}

# As diffusers replaces it.
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}

# What a part is derived from. Pipelines and the classes that choose a class by a configuration are not among them.
_KINDS = {
    "diffusers": ("ModelMixin", "SchedulerMixin"),
    "transformers": (
        "PreTrainedModel",
        "PreTrainedTokenizerBase",
        "ImageProcessingMixin",
        "FeatureExtractionMixin",
        "ProcessorMixin",
    ),
}


def why_refused(library: str, class_name: str) -> str | None:
    """Why a part of a model may not be of a class.

    Args:
        library: ``diffusers``, ``transformers``, or a pipeline's module in diffusers such as ``stable_diffusion``.
        class_name: a class that the library exports.

    Returns:
        The rest of a sentence that starts with the part; None if the class is allowed.
    """
    if class_name in _KNOWN.get(library, ()):
        return None
    name = shown(f"{library}.{class_name}")
    if not all(text.isidentifier() and not text.startswith("_") for text in (library, class_name)):
        return f"is of {name}, which is no name of a class in diffusers or transformers"
    if (module := _module(library)) is None:
        return f"is of {name}; only classes of diffusers and transformers are loaded"
    found = getattr(module, class_name, None)
    if isclass(found) and (missing := getattr(found, "_backends", None)):
        return f"is of {name}, which needs what is not installed: {', '.join(missing)}"
    if not (isclass(found) and issubclass(found, _kinds())):
        return f"is of {name}, which is no model, scheduler, tokenizer or processor of that library"
    return None


def class_of(library: str, class_name: str) -> type:
    """The class of a part that is allowed."""
    found: type = getattr(_module(library), _RENAMED.get(class_name, class_name))
    return found


def shown(text: object, length: int = 80) -> str:
    """A text from a model's file as a message shows it: short, in one line."""
    name = str(text)
    printable = "".join(letter if letter.isprintable() else "?" for letter in name[:length])
    return printable + "…" * (len(name) > len(printable))


def _module(library: str) -> ModuleType | None:
    if library in _KINDS:
        return import_module(library)
    pipelines = import_module("diffusers.pipelines")
    module = getattr(pipelines, library, None)
    return module if ismodule(module) and module.__name__ == f"{pipelines.__name__}.{library}" else None


def _kinds() -> tuple[type, ...]:
    return tuple(getattr(import_module(library), name) for library, names in _KINDS.items() for name in names)
