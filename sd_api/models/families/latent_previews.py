"""Previews of latents by a linear map, one pixel for each cell: the autoencoder would take as long as several steps.

The map is fitted to what the autoencoder makes of plain colours.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from sd_api.models.autoencoder import encode_pixels, in_full_precision
from sd_api.models.schedulers import is_flow, is_trigonometric

# Of red, green and blue each; their combinations are what the map is fitted to.
LEVELS = 4
# Cells of the latents that one colour fills, and how many of them at each edge its neighbours reach.
PATCH, EDGE = 6, 2

# By autoencoder, which this does not keep in memory.
_FITS: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()


def predicted_original(scheduler: Any, prediction: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
    """The latents without noise, as the model sees them at one step (arXiv:2202.00512, appendix D).

    A flow leads from noise at time 1 straight to the original at time 0 (arXiv:2210.02747).

    Args:
        scheduler: Whose noise it is.
        prediction: (n, channels, height, width), what the denoiser predicted.
        timestep: 0 to 1000.
        sample: (n, channels, height, width), what the scheduler is about to step from.
    """
    if is_flow(scheduler):
        return torch.sub(sample, prediction, alpha=float(timestep) / scheduler.config.num_train_timesteps)
    if is_trigonometric(scheduler):
        return torch.cos(timestep) * sample - torch.sin(timestep) * prediction
    alphas_squared = scheduler.alphas_cumprod
    alpha_squared = float(alphas_squared[min(round(float(timestep)), len(alphas_squared) - 1)])
    alpha, sigma = alpha_squared**0.5, (1 - alpha_squared) ** 0.5
    if float(scheduler.init_noise_sigma) > 1:
        # These schedulers (arXiv:2206.00364) add noise without making the original smaller.
        sample = sample * alpha
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return prediction
    if kind == "v_prediction":
        return torch.sub(alpha * sample, prediction, alpha=sigma)
    return torch.div(torch.sub(sample, prediction, alpha=sigma), alpha)


def is_fitted(vae: Any) -> bool:
    """Whether ``latent_preview`` needs the autoencoder no more than to know which one it is."""
    return vae in _FITS


def latent_preview(vae: Any, factor: int, latents: torch.Tensor) -> Image.Image:
    """A picture of (channels, height, width) latents, one pixel for each cell.

    Args:
        vae: The autoencoder that they are for.
        factor: Its pixels for each cell.
        latents: In the denoiser's range.
    """
    if vae not in _FITS:
        _FITS[vae] = _fit(vae, factor)
    matrix = _FITS[vae]
    colours = latents.float().cpu().permute(1, 2, 0) @ matrix[:-1] + matrix[-1]
    return Image.fromarray(((colours.clamp(-1, 1) + 1) * 127.5).round().byte().numpy())


def _fit(vae: Any, factor: int) -> torch.Tensor:
    """(channels + 1, 3): what each channel of the latents adds to red, green and blue, and their constant part."""
    levels = torch.linspace(-1, 1, LEVELS)
    colours = torch.cartesian_prod(levels, levels, levels)
    side = round(len(colours) ** 0.5)
    picture = colours.view(side, side, 3).permute(2, 0, 1)[None]
    picture = picture.repeat_interleave(PATCH * factor, 2).repeat_interleave(PATCH * factor, 3)
    # Some autoencoders overflow in half precision, and this is done once.
    latents = encode_pixels(in_full_precision(vae), picture)[0].float().cpu()
    patches = latents.reshape(-1, side, PATCH, side, PATCH)
    means = patches[:, :, EDGE:-EDGE, :, EDGE:-EDGE].mean((2, 4)).flatten(1).T
    solution: torch.Tensor = torch.linalg.lstsq(torch.cat([means, torch.ones(len(means), 1)], 1), colours).solution
    return solution
