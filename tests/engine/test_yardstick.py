"""The one yardstick: for every family and operation, our pixels equal those of diffusers' own pipeline by hand."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import (
    EDMDPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from pictures import half_mask, photograph, png
from PIL import Image
from tiny_families import parts_of, sd, sdxl

from sd_api.engine.diffusion import denoise, step
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, Redrawing, TextToImage
from sd_api.generation.schedulers import SCHEDULERS, WITH_ETA
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.schedulers import make_scheduler
from sd_api.settings import Limits

SIDE, FACTOR = 64, 8
STEPS = 4
STRENGTH = 0.75
PROMPTS = ("a dog", "a cat with a hat", "a red car")
IMAGE, MASK = photograph(SIDE, SIDE), half_mask(SIDE, SIDE)
LIMITS = Limits()


def sdxl_with_edm() -> Any:
    """As Playground v2.5."""
    pipeline = sdxl()
    pipeline.scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    return pipeline


MODELS: dict[str, Callable[[], Any]] = {
    "sd": sd,
    "sd with v-prediction": lambda: sd(prediction_type="v_prediction"),
    "sd inpainting": lambda: sd(9),
    "instruct-pix2pix": lambda: sd(8),
    "sdxl": sdxl,
    "sdxl inpainting": lambda: sdxl(9),
    "sdxl with EDM's noise": sdxl_with_edm,
}
CLASSES = {
    "sd": {"txt2img": StableDiffusionPipeline, "img2img": StableDiffusionImg2ImgPipeline},
    "sdxl": {"txt2img": StableDiffusionXLPipeline, "img2img": StableDiffusionXLImg2ImgPipeline},
}
CLASSES["sd"] |= {"masking": StableDiffusionInpaintPipeline, "edit": StableDiffusionInstructPix2PixPipeline}
CLASSES["sdxl"] |= {"masking": StableDiffusionXLInpaintPipeline}


@cache
def model(name: str) -> Parts:
    return parts_of(MODELS[name]())


def ref(image: Image.Image, kind: Any) -> ImageRef:
    return ImageRef(png(image), kind, kind, max_pixels=10**6)


def operation(name: str, prompt: str = PROMPTS[0], **changes: Any) -> Operation:
    fields: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": "blue",
        "steps": STEPS,
        "guidance": 6.5,
        "limits": LIMITS,
        **changes,
    }
    if name == "txt2img":
        return TextToImage(width=SIDE, height=SIDE, **fields)
    fields["image"] = ref(IMAGE, "image")
    if name == "edit":
        return Edit(image_guidance=1.2, **fields)
    fields.setdefault("strength", STRENGTH)
    if name == "img2img":
        return ImageToImage(**fields)
    return Inpaint(mask=ref(fields.pop("mask", MASK), "mask"), **fields)


def by_hand(name: str, asked: Operation, seed: int, mask: Image.Image = MASK) -> torch.Tensor:
    """(1, 4, height, width): the latents of diffusers' own pipeline, for a mask of whole cells."""
    parts = model(name)
    pipeline_class = CLASSES["sdxl" if name.startswith("sdxl") else "sd"][asked.name]
    options = {} if name.startswith("sdxl") else {"safety_checker": None, "requires_safety_checker": False}
    pipeline = pipeline_class.from_pipe(parts.pipeline, **options)
    pipeline.scheduler = make_scheduler(asked.scheduler, parts.pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    arguments: dict[str, Any] = {
        "prompt": asked.prompt,
        # As most people call a pipeline without one; SDXL then zeroes the embedding.
        "negative_prompt": asked.negative_prompt or None,
        "num_inference_steps": asked.steps,
        "guidance_scale": asked.guidance,
        "eta": asked.eta,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "output_type": "latent",
    }
    if asked.clip_skip > 1 and name.startswith("sdxl"):
        arguments["clip_skip"] = asked.clip_skip - 1
    elif asked.clip_skip > 1:
        # diffusers' own does not work with the Stable Diffusion text encoder of transformers 5.
        arguments["prompt_embeds"] = read_without_the_last_layers(pipeline, arguments.pop("prompt"), asked.clip_skip)
    if isinstance(asked, TextToImage):
        arguments |= {"width": SIDE, "height": SIDE}
    if isinstance(asked, Edit):
        arguments |= {"image": IMAGE, "image_guidance_scale": asked.image_guidance}
    if isinstance(asked, Redrawing):
        arguments |= {"image": IMAGE, "strength": asked.strength}
    if isinstance(asked, Inpaint):
        arguments |= {"mask_image": mask, "width": SIDE, "height": SIDE}
    latents: torch.Tensor = pipeline(**arguments).images
    return latents


def read_without_the_last_layers(pipeline: Any, prompt: str, clip_skip: int) -> torch.Tensor:
    encoder = deepcopy(pipeline.text_encoder)
    encoder.encoder.layers = encoder.encoder.layers[: 1 - clip_skip]
    tokens = pipeline.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        embeddings: torch.Tensor = encoder(tokens).last_hidden_state
    return embeddings


def begun(name: str, asked: Operation, seed: int) -> Any:
    parts = model(name)
    family = family_of(parts.pipeline)
    seeds = PictureSeeds(seed=seed)
    with torch.inference_mode():
        return family.start(parts, asked, seeds, (SIDE, SIDE), family.encode(parts, asked))


def ours(name: str, asked: Operation, seed: int) -> torch.Tensor:
    parts = model(name)
    latents = denoise(family_of(parts.pipeline), parts, begun(name, asked, seed)).latents
    assert latents is not None
    return latents


ABLE = {
    "sd": ("txt2img", "img2img", "masking"),
    "sd with v-prediction": ("txt2img",),
    "sd inpainting": ("masking",),
    "instruct-pix2pix": ("edit",),
    "sdxl": ("txt2img", "img2img", "masking"),
    "sdxl inpainting": ("masking",),
}
PAIRS = [(name, mode) for name, modes in ABLE.items() for mode in modes]


@pytest.mark.parametrize("guidance", [1.0, 6.5])
# One of each class; the others differ in options alone.
@pytest.mark.parametrize("scheduler", [None, *{each.class_name: name for name, each in SCHEDULERS.items()}.values()])
@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_one_picture_is_diffusers_own(name: str, mode: str, scheduler: str | None, guidance: float) -> None:
    asked = operation(mode, scheduler=scheduler, guidance=guidance, eta=0.5 if scheduler in WITH_ETA else 0.0)
    latents = ours(name, asked, 5)
    assert torch.equal(latents, by_hand(name, asked, 5))
    assert latents.std() > 0.05


@pytest.mark.parametrize("scheduler", [None, "euler", "plms"])
def test_edms_noise_has_schedulers_of_its_own_and_previews(scheduler: str | None) -> None:
    name = "sdxl with EDM's noise"
    asked = operation("txt2img", scheduler=scheduler)
    assert torch.equal(ours(name, asked, 5), by_hand(name, asked, 5))
    parts, row = model(name), begun(name, asked, 5)
    family = family_of(parts.pipeline)
    warned = [warning for warning in family.warnings(parts, asked) if warning.startswith("scheduler: ")]
    assert bool(warned) is (scheduler == "plms")
    with torch.inference_mode():
        preview = family.preview(parts, row, family.predict(parts, [row])[0])
    assert preview is not None
    assert preview.size == (SIDE // FACTOR, SIDE // FACTOR)


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize(("name", "mode"), [pair for pair in PAIRS if pair[1] in ("img2img", "masking")])
def test_any_strength_is_diffusers_own(name: str, mode: str, strength: float) -> None:
    asked = operation(mode, strength=strength, scheduler="euler-a")
    assert torch.equal(ours(name, asked, 5), by_hand(name, asked, 5))


def dabs() -> Image.Image:
    """Soft and hard spots that end in the middle of the autoencoder's cells."""
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (3, 5, 12, 23))
    mask.paste(90, (44, 20, 60, 27))
    mask.putpixel((31, 55), 1)
    return mask


def grown(mask: Image.Image) -> Image.Image:
    """White wherever the cell has any mask."""
    cells = Image.new("L", mask.size)
    for left in range(0, SIDE, FACTOR):
        for top in range(0, SIDE, FACTOR):
            box = left, top, left + FACTOR, top + FACTOR
            if mask.crop(box).getbbox():
                cells.paste(255, box)
    return cells


@pytest.mark.parametrize("name", ["sd", "sd inpainting", "sdxl", "sdxl inpainting"])
def test_cells_with_any_mask_are_drawn_anew(name: str) -> None:
    mask = dabs() if "inpainting" in name else dabs().point(lambda level: 255 if level else 0)
    asked = operation("masking", mask=mask, scheduler="euler-a")
    assert torch.equal(ours(name, asked, 5), by_hand(name, asked, 5, grown(mask)))
    assert not torch.equal(ours(name, asked, 5), by_hand(name, asked, 5, mask))


def differential_diffusion(name: str, asked: Any, mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Algorithm 1 of arXiv:2306.00950 over diffusers' scheduler, for the strengths (0 to 1) of the cells."""
    parts = model(name)
    pipeline, scheduler = parts.pipeline, make_scheduler(asked.scheduler, parts.pipeline.scheduler)
    scheduler.set_timesteps(asked.steps)
    timesteps = scheduler.timesteps[asked.steps - round(asked.steps * asked.strength) :]
    generator = torch.Generator("cpu").manual_seed(seed)
    pixels = pipeline.image_processor.preprocess(IMAGE)
    image = pipeline.vae.encode(pixels).latent_dist.sample(generator) * pipeline.vae.config.scaling_factor
    noise = torch.randn(image.shape, generator=generator)
    latents = scheduler.add_noise(image, noise, timesteps[:1])
    words, negative = pipeline.encode_prompt(asked.prompt, "cpu", 1, True, asked.negative_prompt)
    for number, timestep in enumerate(timesteps):
        if number:
            original = scheduler.add_noise(image, noise, timestep[None])
            latents = torch.where(1 - mask >= number / len(timesteps), original, latents)
        scaled = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        without, with_prompt = pipeline.unet(scaled, timestep, torch.cat([negative, words])).sample.chunk(2)
        prediction = without + asked.guidance * (with_prompt - without)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return torch.where(mask == 0, image, latents)


@torch.inference_mode()
def test_grey_is_the_strength_of_each_cell() -> None:
    """A ramp from black to white, each column of cells with a level of its own."""
    levels = [0, 1, 32, 64, 127, 191, 254, 255]
    mask = Image.new("L", (SIDE, SIDE))
    for column, level in enumerate(levels):
        mask.paste(level, (column * FACTOR, 0, (column + 1) * FACTOR, SIDE))
    asked = operation("masking", mask=mask, steps=8, scheduler="ddim")
    strengths = torch.tensor(levels) / 255
    latents = ours("sd", asked, 5)
    assert (latents - differential_diffusion("sd", asked, strengths, 5)).abs().max() <= 1e-5 * latents.abs().max()
    kept = ours("sd", operation("masking", mask=Image.new("L", (SIDE, SIDE)), steps=8, scheduler="ddim"), 5)
    change = (latents - kept).abs().mean(dim=(0, 1, 2))
    assert change[0] == 0
    assert 0 < change[1] < change[4] < change[7]


def test_half_a_mask_is_half_the_strength() -> None:
    half = operation("masking", mask=Image.new("L", (SIDE, SIDE), 127), strength=1.0, scheduler="ddim")
    without_mask = ours("sd", operation("img2img", strength=0.5, scheduler="ddim"), 5)
    assert (ours("sd", half, 5) - without_mask).abs().max() <= 1e-5 * without_mask.abs().max()


@pytest.mark.parametrize("negative_prompt", ["", "a cat"])
@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_words_are_read_as_diffusers_reads_them(name: str, clip_skip: int, negative_prompt: str) -> None:
    asked = operation("txt2img", clip_skip=clip_skip, negative_prompt=negative_prompt)
    latents = ours(name, asked, 5)
    assert torch.equal(latents, by_hand(name, asked, 5))
    if clip_skip > 1:
        assert not torch.equal(latents, ours(name, operation("txt2img", negative_prompt=negative_prompt), 5))


def together(name: str, rows: list[Any], joins_at: list[int] | None = None) -> None:
    """Step all rows in shared forwards; each joins when the first has made so many steps."""
    parts = model(name)
    family = family_of(parts.pipeline)
    joins = joins_at or [0] * len(rows)
    turn = 0
    while any(not row.done for row in rows):
        present = [row for row, join in zip(rows, joins, strict=True) if join <= turn and not row.done]
        groups: dict[Any, list[Any]] = {}
        for row in present:
            groups.setdefault(row.key, []).append(row)
        for group in groups.values():
            assert not step(family, parts, group)
        turn += 1


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_unlike_rows_share_forwards_and_are_as_alone(name: str, mode: str) -> None:
    """Other prompts, steps, guidance, schedulers, strengths; they join late and leave early."""
    asked = [
        operation(mode, PROMPTS[0], steps=4),
        operation(mode, PROMPTS[1], steps=6, guidance=3.0, scheduler="euler-a"),
        operation(mode, PROMPTS[2], steps=3, guidance=1.0, scheduler="ddim", eta=1.0),
        operation(mode, PROMPTS[0], steps=5, scheduler="heun", **({"mask": dabs()} if mode == "masking" else {})),
    ]
    rows = [begun(name, one, seed) for seed, one in enumerate(asked)]
    assert len({row.key for row in rows}) == 1
    together(name, rows, [0, 1, 0, 2])
    for seed, (one, row) in enumerate(zip(asked, rows, strict=True)):
        alone = ours(name, one, seed)
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()
        others = [other for other in rows if other is not row]
        assert all((row.latents - other.latents).abs().max() > 0.01 * alone.abs().max() for other in others)


def test_operations_of_one_model_share_forwards() -> None:
    asked = [operation(mode) for mode in ABLE["sd"]]
    rows = [begun("sd", one, 9) for one in asked]
    assert len({row.key for row in rows}) == 1
    together("sd", rows)
    for one, row in zip(asked, rows, strict=True):
        alone = ours("sd", one, 9)
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()
