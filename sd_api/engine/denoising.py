"""From noise to latents, step by step; at each step runs are told, shown previews, and may drop out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from sd_api.engine.arguments import pipeline_arguments
from sd_api.engine.batch import Picture
from sd_api.engine.noise import draw_in_full_precision
from sd_api.engine.previews import Previews
from sd_api.errors import GenerationFailed
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.library import LoadedModel
from sd_api.models.schedulers import scheduler_name

BROKEN = (
    "The model's arithmetic broke down (its latents are not numbers). Try another seed, fewer steps, a lower "
    'guidance_scale or another scheduler; if it happens with every picture, set "dtype": "fp32" in the configuration.'
)


class _NobodyLeft(Exception):
    """Every run of the pass has dropped out."""


class Denoiser:
    """Runs one pipeline, for as many passes as a batch of runs needs.

    Args:
        pipeline: made for this batch; its scheduler is fresh, and some of its methods are replaced.
        model: whose pipeline it is.
    """

    def __init__(self, pipeline: Any, model: LoadedModel) -> None:
        self.pipeline = pipeline
        self._model = model
        if pipeline.unet.dtype in HALF_PRECISIONS:
            draw_in_full_precision(pipeline)
        self._previews = Previews(pipeline)

    @property
    def scheduler(self) -> str:
        """The name of the scheduler that runs."""
        return scheduler_name(self.pipeline.scheduler)

    def denoise(self, pictures: Sequence[Picture]) -> tuple[list[Picture], torch.Tensor]:
        """Run all steps for some pictures.

        A run that is cancelled on the way, or whose latents are not numbers in the end, is left out of what comes back;
        nothing is computed any more once all are cancelled.

        Returns:
            The pictures that are still wanted, and their latents, of shape (n, 4, height, width).
        """
        counts = Counter(picture.member for picture in pictures)
        first_rows = {picture.member.run: row for row, picture in reversed(list(enumerate(pictures)))}

        def tell(done: int) -> None:
            steps = self.pipeline.num_timesteps
            for member, count in counts.items():
                member.report("denoising" if done < steps else "decoding", count, done, steps)
            if not any(member.alive for member in counts):
                raise _NobodyLeft

        make_bar = self.pipeline.progress_bar

        def before_steps(total: int) -> Any:
            tell(0)
            return make_bar(total=total)

        def after_step(_running: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            tell(step + 1)
            self._previews.show(first_rows)
            return {}

        # Diffusers calls back after each step only. Where it makes its bar, all is ready for the first.
        self.pipeline.progress_bar = before_steps
        try:
            latents = self.pipeline(
                **pipeline_arguments(self._model, pictures), output_type="latent", callback_on_step_end=after_step
            ).images
        except _NobodyLeft:
            return [], torch.empty(0)
        finally:
            # Or the pipeline would keep the runs in memory.
            del self.pipeline.progress_bar
        for picture, row in zip(pictures, latents, strict=True):
            if not row.isfinite().all():
                picture.member.fail(GenerationFailed(BROKEN))
        rows = [row for row, picture in enumerate(pictures) if picture.member.alive]
        return [pictures[row] for row in rows], latents[rows]
