"""What a model can do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sd_api.errors import OutOfLimits
from sd_api.generation.fields import fields_of
from sd_api.generation.operation import Operation, OperationName

Guidance = Literal["classifier-free", "distilled", "none"]
"""What guidance means to a model: a factor between two predictions, so that a step costs twice as much; an input that
it was trained with instead; or nothing."""


@dataclass(frozen=True)
class ModelAbilities:
    """What a model can do, as far as its files say once it is loaded.

    Attributes:
        modes: The operations that it was made for.
        size_multiple: Pixels; other sizes are padded up to a multiple of this.
        native_size: Pixels; the side of the squares that it was trained with, None where its files do not say.
        capabilities: What a field may require, see ``Param.requires``; for example ``clip_skip``.
        schedulers: The names of those that work with it; empty where a request may name none.
        guidance: What guidance means to it.
        default_steps: The steps that its authors advise; None where they do not say.
        default_guidance: The guidance that they advise.
    """

    modes: tuple[OperationName, ...]
    size_multiple: int
    native_size: int | None
    capabilities: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    guidance: Guidance = "classifier-free"
    default_steps: int | None = None
    default_guidance: float | None = None


def without_effect(abilities: ModelAbilities, operation: Operation) -> Iterator[str]:
    """Sentences about fields of an operation that a model has no use for.

    Args:
        abilities: Of the model.
        operation: What is asked for.
    """
    if operation.scheduler is not None and operation.scheduler not in abilities.schedulers:
        able = ", ".join(abilities.schedulers)
        own = f"with {able} only" if able else "with its own scheduler only"
        yield f"scheduler: this model runs {own}, so {operation.scheduler!r} was not used."
    for field in fields_of(type(operation)):
        missing = field.param.requires not in (None, *abilities.capabilities)
        if missing and getattr(operation, field.name) != field.default:
            yield f"{field.name}: this model has no use for it, so it was not used."


def refuse_other_mode(abilities: ModelAbilities, label: str, operation: OperationName) -> None:
    """Refuse an operation that a model was not made for.

    Args:
        abilities: Of the model.
        label: The model's label.
        operation: What is asked for.

    Raises:
        OutOfLimits: The model cannot do it.
    """
    if operation not in abilities.modes:
        able = " and ".join(abilities.modes)
        raise OutOfLimits("model", f"{label} was made for {able} only; it cannot do {operation}")
