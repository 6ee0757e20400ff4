"""Rows that have made their last step become pictures: decoding, the safety filter, and off to be finished."""

import logging
from functools import partial
from typing import Any

import torch

from sd_api.engine.active import ActiveJob
from sd_api.engine.finishing import Finisher
from sd_api.engine.memory import fail, with_room
from sd_api.engine.safety import filtered
from sd_api.errors import GenerationFailed
from sd_api.models.families.base import BROKEN, Row
from sd_api.models.library import ModelLibrary
from sd_api.models.safety import SafetyFilter

log = logging.getLogger(__name__)


class Decoder:
    """Decodes rows on the device.

    Args:
        library: Makes room where memory runs out.
        device: Where the models run.
        finisher: Takes the pictures.
    """

    def __init__(self, library: ModelLibrary, device: torch.device, finisher: Finisher) -> None:
        self._library = library
        self._device = device
        self._finisher = finisher

    def end_rows(self, rows: dict[Row, ActiveJob]) -> None:
        """Decode rows that are done, and hand the pictures over to be finished."""
        for row, job in list(rows.items()):
            if row.latents is not None and not row.latents.isfinite().all():
                job.fail(GenerationFailed(BROKEN))
                del rows[row]
        if rows:
            self._decode(rows)

    def _decode(self, rows: dict[Row, ActiveJob]) -> None:
        jobs = list(rows.values())
        parts, family = jobs[0].parts, jobs[0].model.family
        warnings: list[str] = []
        try:
            images = with_room(self._library, lambda: family.decode(parts, list(rows), warnings))
        except Exception as error:
            if len(rows) == 1:
                fail(jobs[0], error)
                return
            log.warning("Decoding %d pictures at once failed (%s); decoding them one by one", len(rows), error)
            for row, job in rows.items():
                self._decode({row: job})
            return
        for (row, job), image in zip(rows.items(), images, strict=True):
            for warning in warnings:
                job.warn(warning)
            self._hand_over(job, row, image)

    def _hand_over(self, job: ActiveJob, row: Row, image: Any) -> None:
        try:
            if job.safety is not None and job.is_last_pass(row):
                (image,), (nsfw,) = with_room(self._library, partial(self._filtered, job.safety, image))
                if nsfw:
                    job.flag(row)
        except Exception as error:
            fail(job, error)
            return
        if (picture := job.close(row, image)) is not None:
            self._finisher.finish(job, picture, scheduler=row.scheduler_name)

    def _filtered(self, safety: SafetyFilter, image: Any) -> Any:
        self._library.place([safety.checker])
        return filtered(safety, [image], self._device)
