"""The denoising loop. Knows neither models nor jobs: a family predicts, a row advances."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from sd_api.models.components import Parts
from sd_api.models.families.base import Family, Row
from sd_api.models.tiling import merged


def step(
    family: Family,
    parts: Parts,
    rows: Sequence[Row],
    look: Callable[[Row, Any], None] = lambda _row, _prediction: None,
    *,
    at_once: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> dict[Row, Exception]:
    """One step of rows that share a forward.

    Args:
        family: The rows' architecture.
        parts: Their model.
        rows: Those with the same key, none of which is done.
        look: Is called with each row and its prediction before the row advances; a row that it ends does not advance.
        at_once: How many rows or tiles go through the model in one forward; None where all do.
        between: Is called between two forwards; what it raises ends the step.

    Returns:
        The rows that cannot go on, with the reason; the others have advanced.

    Raises:
        Exception: The forward failed. No row has changed, so it can be tried again with fewer rows.
    """
    failures: dict[Row, Exception] = {}
    with torch.inference_mode():
        for row, prediction in zip(rows, _predict(family, parts, rows, at_once, between), strict=True):
            look(row, prediction)
            try:
                if not row.done:
                    family.advance(row, prediction)
            except Exception as error:
                failures[row] = error
    return failures


def forwards(rows: Sequence[Row]) -> int:
    """How many rows and tiles of rows go through the model for one step."""
    return sum(max(1, len(row.tiles)) for row in rows)


def _predict(
    family: Family, parts: Parts, rows: Sequence[Row], at_once: int | None, between: Callable[[], None]
) -> list[Any]:
    """The predictions of rows, those of tiles merged into one for their row."""
    views = [view for row in rows for view in ([family.view(row, tile) for tile in row.tiles] or [row])]
    at_once = at_once or len(views)
    predictions: list[Any] = []
    for begin in range(0, len(views), at_once):
        if begin:
            between()
        predictions += family.predict(parts, views[begin : begin + at_once])
    several = iter(predictions)
    return [_merged(row, several) if row.tiles else next(several) for row in rows]


def _merged(row: Row, predictions: Iterator[Any]) -> torch.Tensor:
    assert row.latents is not None  # noqa: S101 - a row with tiles has them
    height, width = row.latents.shape[2:]
    return merged([(next(predictions), tile) for tile in row.tiles], (width, height))


def denoise(family: Family, parts: Parts, row: Row) -> Row:
    """All steps of one row, alone: the plain form, which the engine's shared steps are compared with."""
    while not row.done:
        for error in step(family, parts, [row]).values():
            raise error
    return row
