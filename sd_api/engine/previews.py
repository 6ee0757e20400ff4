"""What a picture looks like while it is made: cheap, small, and only for who looks.

The autoencoder would take as long as several steps. A picture of one pixel for each cell of the
latents needs a linear map only, which is fitted to what the autoencoder makes of plain colours.
"""

import io
import time
from collections.abc import Mapping
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from sd_api.engine.autoencoder import encode_pixels, full_precision
from sd_api.generation.engine import Run

# Seconds between two previews: more would cost time, and nobody could look at them.
INTERVAL = 0.3

# Of red, green and blue each; their combinations are what the map is fitted to.
LEVELS = 4
# Cells of the latents that one colour fills, and how many of them at each edge its neighbours reach.
PATCH, EDGE = 6, 2

# By autoencoder, which this does not keep in memory.
_FITS: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()


class Previews:
    """Looks at a pipeline's steps, and shows them to the runs that want it.

    Args:
        pipeline: one that is used for this batch alone: its scheduler's ``step`` is replaced.
    """

    def __init__(self, pipeline: Any) -> None:
        self._vae, self._factor = pipeline.vae, pipeline.vae_scale_factor
        self._scheduler = pipeline.scheduler
        self._last = 0.0
        self._wanted = False
        self._original: torch.Tensor | None = None
        self._scheduler.step = self._looked_at(self._scheduler.step)

    def show(self, first_rows: Mapping[Run, int]) -> None:
        """After a step, show it to the runs.

        Args:
            first_rows: the runs, each with its first row in the batch.
        """
        for run, row in first_rows.items():
            if self._original is not None and run.preview_wanted:
                file = io.BytesIO()
                picture_of(self._vae, self._factor, self._original[row]).save(file, "PNG")
                run.show(file.getvalue())
        if self._original is not None:
            self._original, self._last = None, time.monotonic()
        waited = time.monotonic() - self._last > INTERVAL
        self._wanted = waited and any(run.preview_wanted for run in first_rows)

    def _looked_at(self, step: Any) -> Any:
        # Diffusers looks at the signature of a scheduler's step, which "wraps" passes on.
        @wraps(step)
        def looking(model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **options: Any) -> Any:
            if self._wanted:
                self._original = predicted_original(self._scheduler, model_output, timestep, sample)
            return step(model_output, timestep, sample, **options)

        return looking


def predicted_original(scheduler: Any, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
    """The latents without noise, as the model sees them at one step (arXiv:2202.00512, appendix D).

    Args:
        scheduler: whose noise it is.
        model_output: (n, 4, height, width), what the UNet predicted.
        timestep: 0 to 1000.
        sample: (n, 4, height, width), what the scheduler is about to step from.
    """
    alphas_squared = scheduler.alphas_cumprod
    alpha_squared = float(alphas_squared[min(round(float(timestep)), len(alphas_squared) - 1)])
    alpha, sigma = alpha_squared**0.5, (1 - alpha_squared) ** 0.5
    if float(scheduler.init_noise_sigma) > 1:
        # These schedulers (arXiv:2206.00364) add noise without making the original smaller.
        sample = sample * alpha
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return model_output
    if kind == "v_prediction":
        return torch.sub(alpha * sample, model_output, alpha=sigma)
    return torch.div(torch.sub(sample, model_output, alpha=sigma), alpha)


def picture_of(vae: Any, factor: int, latents: torch.Tensor) -> Image.Image:
    """(4, height, width) latents, one pixel for each cell.

    Args:
        vae: the autoencoder that they are for.
        factor: its pixels for each cell.
        latents: in the UNet's range.
    """
    if vae not in _FITS:
        _FITS[vae] = _fit(vae, factor)
    matrix = _FITS[vae]
    colours = latents.float().cpu().permute(1, 2, 0) @ matrix[:-1] + matrix[-1]
    return Image.fromarray(((colours.clamp(-1, 1) + 1) * 127.5).round().byte().numpy())


def _fit(vae: Any, factor: int) -> torch.Tensor:
    """(5, 3): what each channel of the latents adds to red, green and blue, and what is there without them."""
    levels = torch.linspace(-1, 1, LEVELS)
    colours = torch.cartesian_prod(levels, levels, levels)
    side = round(len(colours) ** 0.5)
    picture = colours.view(side, side, 3).permute(2, 0, 1)[None]
    picture = picture.repeat_interleave(PATCH * factor, 2).repeat_interleave(PATCH * factor, 3)
    # Some overflow in half precision, and this is done once.
    with full_precision(vae):
        latents = encode_pixels(vae, picture)[0].float().cpu()
    patches = latents.reshape(-1, side, PATCH, side, PATCH)
    means = patches[:, :, EDGE:-EDGE, :, EDGE:-EDGE].mean((2, 4)).flatten(1).T
    solution: torch.Tensor = torch.linalg.lstsq(torch.cat([means, torch.ones(len(means), 1)], 1), colours).solution
    return solution
