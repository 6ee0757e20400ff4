"""The denoising loop. Knows neither models nor jobs: a family predicts, a row advances."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sd_api.models.components import Parts
from sd_api.models.families.base import Family, Row


def step(
    family: Family,
    parts: Parts,
    rows: Sequence[Row],
    look: Callable[[Row, Any], None] = lambda _row, _prediction: None,
) -> dict[Row, Exception]:
    """One step of rows that share a forward.

    Args:
        family: The rows' architecture.
        parts: Their model.
        rows: Those with the same key, none of which is done.
        look: Is called with each row and its prediction before the row advances.

    Returns:
        The rows that cannot go on, with the reason; the others have advanced.

    Raises:
        Exception: The forward failed. No row has changed, so it can be tried again with fewer rows.
    """
    failures: dict[Row, Exception] = {}
    with torch.inference_mode():
        for row, prediction in zip(rows, family.predict(parts, rows), strict=True):
            look(row, prediction)
            try:
                family.advance(row, prediction)
            except Exception as error:
                failures[row] = error
    return failures


def denoise(family: Family, parts: Parts, row: Row) -> Row:
    """All steps of one row, alone: the plain form, which the engine's shared steps are compared with."""
    while not row.done:
        for error in step(family, parts, [row]).values():
            raise error
    return row
