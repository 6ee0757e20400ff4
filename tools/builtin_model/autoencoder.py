"""The autoencoder: 512 x 512 pixels to 4 x 32 x 32 latents and back, trained on crops of scenes."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from PIL import Image
from torch import nn
from torch.nn import functional

from .icons import bodies, render
from .scenes import random_scene, thing_icons
from .training import SEED, Log, Timer, learning_rate, load, save

FACTOR = 16
CROP = 128
BATCH = 12
PEAK_LEARNING_RATE = 8e-4
LATENT_NOISE = 0.05
"""Standard deviation of what is added to latents in training, so that near latents decode alike."""
UNET_NOISE = 0.15
"""The same for the decoder's last training: about as far as the UNet's latents are from an encoder's."""


def make_autoencoder() -> AutoencoderTiny:
    """Blocks only where there are few pixels: those are cheap, and see far."""
    return AutoencoderTiny(
        encoder_block_out_channels=(64,) * 5,
        decoder_block_out_channels=(64,) * 5,
        num_encoder_blocks=(0, 1, 1, 2, 2),
        num_decoder_blocks=(3, 3, 2, 1, 0),
        latent_channels=4,
    )


@torch.no_grad()
def initialize(model: AutoencoderTiny) -> None:
    """Start as plain averages of colours in the first three channels, which is where a long search ends otherwise.

    The other channels start at random; residual blocks start small, since nothing normalizes between them.
    """
    blocks = [module for module in model.modules() if isinstance(module, AutoencoderTinyBlock)]
    within = {conv for block in blocks for conv in block.conv}
    plain = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module not in within]
    for block in blocks:
        nn.init.kaiming_normal_(block.conv[0].weight)
        nn.init.kaiming_normal_(block.conv[2].weight)
        nn.init.kaiming_normal_(block.conv[4].weight, nonlinearity="linear").mul_(0.2)
        block.conv[4].weight[:3] = 0
    for conv in plain:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        conv.weight[:3] = 0
        for channel in range(3):
            if conv.stride == (2, 2):
                conv.weight[channel, channel, 1:, 1:] = 0.25
            else:
                conv.weight[channel, channel, 1, 1] = 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    # Colours are 0 to 1 inside; times this, they have a standard deviation of about 1.
    scale, to_latents, from_latents = 3.5, model.encoder.layers[-1], model.decoder.layers[0]
    to_latents.weight[:3] *= scale
    to_latents.bias[:3] = -scale / 2
    from_latents.weight[:3] /= scale
    from_latents.bias[:3] = 0.5


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """(3, height, width) float, -1 to 1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1


def training_pictures(icons: Path, count: int) -> torch.Tensor:
    """(count, 3, 512, 512) bytes: three in four of the things, the others of any icon, so that any sketch encodes."""
    rng = np.random.default_rng(SEED)
    things, names = list(thing_icons(icons).values()), sorted(bodies(icons))
    pictures = torch.empty(count, 3, 512, 512, dtype=torch.uint8)
    for index in range(count):
        icon = things[index % len(things)]
        if index % 4 == 3:
            icon = render(bodies(icons)[names[rng.integers(len(names))]])
        picture = random_scene(rng, icon, 512, 512).draw()
        pictures[index] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return pictures


def random_crops(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(BATCH, 3, CROP, CROP) float, -1 to 1; every eighth batch is of pictures at half their size."""
    half = rng.random() < 1 / 8
    side = 2 * CROP if half else CROP
    crops = []
    for index in rng.integers(len(pictures), size=BATCH):
        # Half of what is all background is passed over: there is little to learn from it.
        for _ in range(2):
            top, left = rng.integers(pictures.shape[-1] - side + 1, size=2)
            crop = pictures[index, :, top : top + side, left : left + side]
            if (crop != crop[:, :1, :1]).any():
                break
        crops.append(crop)
    batch = torch.stack(crops).float() / 127.5 - 1
    return functional.avg_pool2d(batch, 2) if half else batch


def train_autoencoder(icons: Path, folder: Path, minutes: float) -> None:
    """Train both halves for about ``minutes`` altogether, from the checkpoint in ``folder`` where there is one."""
    model = make_autoencoder()
    initialize(model)
    _train(model, icons, folder, "autoencoder", minutes, LATENT_NOISE)


def train_decoder(icons: Path, folder: Path, minutes: float) -> None:
    """Train the decoder on, with latents as inexact as the UNet's are; what is encoded stays as it is."""
    model = trained(folder)
    model.encoder.requires_grad_(False)
    _train(model, icons, folder, "decoder", minutes, UNET_NOISE)


def trained(folder: Path) -> AutoencoderTiny:
    """The one in ``folder``."""
    model = make_autoencoder()
    state = load(folder / "decoder.pt") or load(folder / "autoencoder.pt")
    assert state is not None
    model.load_state_dict(state["model"])
    return model.eval()


def _train(model: AutoencoderTiny, icons: Path, folder: Path, name: str, minutes: float, latent_noise: float) -> None:
    torch.manual_seed(SEED)
    model.to(memory_format=torch.channels_last)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.99), fused=True)
    log, checkpoint = Log(folder / f"{name}.jsonl"), folder / f"{name}.pt"
    step, spent = 0, 0.0
    if (state := load(checkpoint)) is not None:
        model.load_state_dict(state["model"])
        # One that came from a model's directory has none.
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
    if spent >= 60 * minutes:
        return
    pictures = training_pictures(icons, 1000)
    rng = np.random.default_rng((SEED, step))
    timer, total = Timer(), 0.0
    while (seconds := spent + timer.seconds()) < 60 * minutes:
        # The course follows the time, because a faster machine does more steps in it.
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(seconds / (60 * minutes), PEAK_LEARNING_RATE)
        batch = random_crops(pictures, rng).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(batch).latents.float()
            noisy = latents + latent_noise * torch.randn_like(latents)
            decoded = model.decode(noisy).sample.float()
        error = (decoded - batch).abs().mean()
        loss = error + 1e-3 * latents.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, total = step + 1, total + error.item()
        if step % 200 == 0:
            log.write(step=step, seconds=seconds, error=total / 200, latent_std=latents.std().item())
            total = 0.0
            save(checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, seconds=seconds)
    save(checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, seconds=60 * minutes)
