"""What a model can do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sd_api.errors import OutOfLimits
from sd_api.generation.fields import fields_of
from sd_api.generation.operation import Operation, OperationName

Guidance = Literal["classifier-free", "distilled", "none"]
"""What guidance means to a model: a factor between two predictions, so that a step costs twice as much; an input that
it was trained with instead; or nothing."""


MEGAPIXEL = 1024 * 1024
"""The pixels of a million, about as many as models were trained to see of an image."""


@dataclass(frozen=True)
class SeenImages:
    """How large a model sees images beside the picture that it draws, in pixels of each; 0 where it sees none.

    Attributes:
        changed: The image that is changed; None is as large as the picture.
        least: A reference, however small it is.
        most: A reference, however large it is.
        kept: Whether it looks at them once, and keeps what the layers of its attention made of them.
    """

    changed: int | None = 0
    least: int = 0
    most: int = 0
    kept: bool = False

    def usual(self, picture: int) -> int:
        """The pixels of what an edit of so many pixels sees: the image and one reference."""
        return (picture if self.changed is None else self.changed) + self.most


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
        defaults: What requests get that name no value, by the canonical names of fields, such as ``steps``: what its
            publisher advises, or what the configuration says. None as a scheduler is the model's own.
        seen: What it sees in each step beside its picture.
    """

    modes: tuple[OperationName, ...]
    size_multiple: int
    native_size: int | None
    capabilities: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    guidance: Guidance = "classifier-free"
    defaults: Mapping[str, int | float | str | None] = field(default_factory=dict)
    seen: SeenImages = SeenImages()


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
    for each in fields_of(type(operation)):
        missing = each.param.requires not in (None, *abilities.capabilities)
        if missing and getattr(operation, each.name) != each.default:
            yield f"{each.name}: this model has no use for it, so it was not used."


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
