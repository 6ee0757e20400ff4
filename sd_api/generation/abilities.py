"""What a model can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import OperationName


@dataclass(frozen=True)
class ModelAbilities:
    """What a model can do, as far as its files say once it is loaded.

    Attributes:
        modes: The operations that it was made for.
        size_multiple: Pixels; other sizes are padded up to a multiple of this.
        native_size: Pixels; the side of the squares that it was trained with, None where its files do not say.
        capabilities: What a field may require, see ``Param.requires``; for example ``clip_skip``.
        schedulers: The names of those that work with it; empty where a request may name none.
        defaults: What requests get that name no value, by the canonical names of fields, such as ``steps``;
            None as a scheduler is the model's own.
    """

    modes: tuple[OperationName, ...]
    size_multiple: int
    native_size: int | None
    capabilities: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    defaults: Mapping[str, int | float | str | None] = field(default_factory=dict)


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
