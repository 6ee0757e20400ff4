"""Of the families beside Stable Diffusion 1, 2 and XL: our pixels equal those of diffusers' own pipeline by hand."""

from functools import cache
from inspect import signature
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.flux import pipeline_flux_kontext, pipeline_flux_kontext_inpaint
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from pictures import half_mask, photograph, png
from PIL import Image
from tiny_families import parts_of
from tiny_pipelines import weights

from sd_api.engine.diffusion import denoise, step
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, FromImage, ImageToImage, Inpaint, TextToImage
from sd_api.generation.references import Reference
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import pad, padded_size
from sd_api.models.autoencoder import scale_factor
from sd_api.models.components import Parts
from sd_api.models.families import flux, qwen_image
from sd_api.models.families.reference_images import in_whole_cells
from sd_api.models.families.registry import family_of
from sd_api.models.schedulers import make_scheduler
from sd_api.settings import Limits

STEPS, STRENGTH, SEED = 3, 0.7, 5
LIMITS = Limits()
# The last one is padded by every model.
SIZES = [(96, 64), (104, 72), (83, 91)]

SPRINT = {"use_resolution_binning": False, "intermediate_timesteps": None}

# The class of diffusers for each operation, with arguments of its own.
HAND: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("stable diffusion 3", "txt2img"): ("StableDiffusion3Pipeline", {}),
    ("stable diffusion 3", "img2img"): ("StableDiffusion3Img2ImgPipeline", {}),
    ("flux", "txt2img"): ("FluxPipeline", {}),
    ("flux", "img2img"): ("FluxImg2ImgPipeline", {}),
    ("flux", "masking"): ("FluxInpaintPipeline", {}),
    ("flux schnell", "txt2img"): ("FluxPipeline", {}),
    ("flux fill", "masking"): ("FluxFillPipeline", {}),
    ("flux kontext", "txt2img"): ("FluxKontextPipeline", {"_auto_resize": False}),
    ("flux kontext", "edit"): ("FluxKontextPipeline", {"_auto_resize": False}),
    ("flux kontext", "masking"): ("FluxKontextInpaintPipeline", {"_auto_resize": False}),
    ("flux.2 klein", "txt2img"): ("Flux2KleinPipeline", {}),
    ("flux.2 klein", "edit"): ("Flux2KleinPipeline", {}),
    ("flux.2 klein", "masking"): ("Flux2KleinInpaintPipeline", {}),
    ("flux.2 klein kv", "txt2img"): ("Flux2KleinKVPipeline", {}),
    ("flux.2 klein kv", "edit"): ("Flux2KleinKVPipeline", {}),
    ("chroma", "txt2img"): ("ChromaPipeline", {}),
    ("chroma", "img2img"): ("ChromaImg2ImgPipeline", {}),
    ("qwen-image", "txt2img"): ("QwenImagePipeline", {}),
    ("qwen-image", "img2img"): ("QwenImageImg2ImgPipeline", {}),
    ("qwen-image", "masking"): ("QwenImageInpaintPipeline", {}),
    ("qwen-image-edit", "edit"): ("QwenImageEditPipeline", {}),
    ("qwen-image-edit-plus", "edit"): ("QwenImageEditPlusPipeline", {}),
    ("z-image", "txt2img"): ("ZImagePipeline", {}),
    ("z-image", "img2img"): ("ZImageImg2ImgPipeline", {}),
    ("z-image", "masking"): ("ZImageInpaintPipeline", {}),
    ("krea 2", "txt2img"): ("Krea2Pipeline", {}),
    ("sana", "txt2img"): ("SanaPipeline", {"use_resolution_binning": False}),
    ("sana sprint", "txt2img"): ("SanaSprintPipeline", SPRINT),
    ("sana sprint", "img2img"): ("SanaSprintImg2ImgPipeline", SPRINT),
    ("lumina 2", "txt2img"): ("Lumina2Pipeline", {}),
    ("latent consistency", "txt2img"): ("LatentConsistencyModelPipeline", {}),
    ("latent consistency", "img2img"): ("LatentConsistencyModelImg2ImgPipeline", {}),
    ("pixart sigma", "txt2img"): ("PixArtSigmaPipeline", {"use_resolution_binning": False}),
}


# Qwen-Image-Edit scales what it sees to a million pixels, which a test has no time for.
SEEN = 96 * 96
# So does FLUX.1 Kontext with its references, which are of the first of these shapes here.
SHAPES = [(64, 112), SIZES[0]]
REFERENCES = [photograph(64, 91, seed=8), photograph(83, 70, seed=9)]


@pytest.fixture(autouse=True)
def _seen_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def shrunk(_area: int, ratio: float) -> tuple[int, int, None]:
        width, height = pipeline_qwenimage_edit_plus.calculate_dimensions(SEEN, ratio)
        return width, height, None

    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", shrunk)
    for module in (pipeline_qwenimage_edit_plus, qwen_image):
        monkeypatch.setattr(module, "VAE_IMAGE_SIZE", SEEN)
        monkeypatch.setattr(module, "CONDITION_IMAGE_SIZE", SEEN)
    for module in (pipeline_flux_kontext, pipeline_flux_kontext_inpaint, flux):
        monkeypatch.setattr(module, "PREFERRED_KONTEXT_RESOLUTIONS", SHAPES)


@cache
def model(name: str) -> Parts:
    return parts_of(weights(name))


def references(count: int = 2) -> tuple[Reference, ...]:
    refs = [ImageRef(png(image), "image", "image", max_pixels=10**6) for image in REFERENCES[:count]]
    return tuple(Reference(image=ref) for ref in refs)


def operation(mode: str, size: tuple[int, int] = SIZES[0], **changes: Any) -> Operation:
    fields: dict[str, Any] = {"prompt": "a dog", "negative_prompt": "blue", "steps": STEPS, "guidance": 3.5}
    fields |= {"limits": LIMITS, **changes}
    if mode == "txt2img":
        return TextToImage(width=size[0], height=size[1], **fields)
    fields["image"] = ImageRef(png(photograph(*size)), "image", "image", max_pixels=10**6)
    if mode == "edit":
        return Edit(**fields)
    fields.setdefault("strength", STRENGTH)
    if mode == "img2img":
        return ImageToImage(**fields)
    return Inpaint(mask=ImageRef(png(half_mask(*size)), "mask", "mask", max_pixels=10**6), **fields)


def working_size(name: str, asked: Operation) -> tuple[int, int]:
    parts = model(name)
    multiple = family_of(parts.pipeline).abilities(parts).size_multiple
    return padded_size(asked.size, multiple=multiple, minimum=64)


def by_hand(name: str, asked: Operation) -> Image.Image:
    """What diffusers draws at the padded size, with a mask of whole cells."""
    class_name, arguments = HAND[name, asked.name]
    parts, (width, height) = model(name), working_size(name, asked)
    pipeline_class = getattr(diffusers, class_name)
    pipeline = pipeline_class.from_pipe(parts.pipeline)
    pipeline.scheduler = make_scheduler(asked.scheduler, parts.pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    arguments = {
        "prompt": asked.prompt,
        "num_inference_steps": asked.steps,
        ("true_cfg_scale" if name.startswith("qwen") else "guidance_scale"): asked.guidance,
        "width": width,
        "height": height,
        "generator": torch.Generator("cpu").manual_seed(SEED),
        "negative_prompt": None if name.startswith("flux") and asked.true_guidance == 1 else asked.negative_prompt,
        **({"max_area": width * height} if "Kontext" in class_name else {}),
        **({"true_cfg_scale": asked.true_guidance} if name.startswith("flux") else {}),
        **arguments,
    }
    if isinstance(asked, FromImage):
        arguments["image"] = pad(asked.image.pixels, (width, height))
    if others := [reference.image.pixels for reference in asked.references]:
        by_itself = "image_reference" in signature(pipeline.__call__).parameters
        first = [arguments["image"]] if isinstance(asked, FromImage) and not by_itself else []
        several = [*first, *others]
        arguments["image_reference" if by_itself else "image"] = several if len(several) > 1 else several[0]
        arguments["_auto_resize"] = True
    if isinstance(asked, (ImageToImage, Inpaint)):
        arguments["strength"] = asked.strength
    if isinstance(asked, Inpaint):
        arguments["mask_image"] = masked_cells(name, asked)
    known = signature(pipeline.__call__).parameters
    known_arguments = {name: value for name, value in arguments.items() if name in known}
    image: Image.Image = pipeline(**known_arguments).images[0]
    return image


def masked_cells(name: str, asked: Inpaint) -> Image.Image:
    """The mask, white wherever the cell has any of it; a model that takes the mask gets its pixels."""
    parts, size = model(name), working_size(name, asked)
    family: Any = family_of(parts.pipeline)
    assert asked.mask is not None
    mask = pad(asked.mask.pixels, size)
    if family.takes_mask:
        return mask
    cell = family.cell(parts)
    levels = np.asarray(mask).reshape(size[1] // cell, cell, size[0] // cell, cell).max((1, 3))
    return Image.fromarray(levels.repeat(cell, 0).repeat(cell, 1))


def begun(name: str, asked: Operation, seed: int = SEED) -> Any:
    parts = model(name)
    family = family_of(parts.pipeline)
    with torch.inference_mode():
        conditioning = family.encode(parts, asked)
        return family.start(parts, asked, PictureSeeds(seed=seed), working_size(name, asked), conditioning)


def ours(name: str, asked: Operation) -> Image.Image:
    parts = model(name)
    family = family_of(parts.pipeline)
    row = denoise(family, parts, begun(name, asked))
    with torch.inference_mode():
        (image,) = family.decode(parts, [row], [])
    return image


def same(one: Image.Image, other: Image.Image) -> None:
    difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    assert difference.max() == 0, (difference.max(), difference.mean())
    assert np.asarray(one).std() > 3


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [(*pair, size) for number, pair in enumerate(HAND) for size in (SIZES[number % 2], SIZES[2])],
)
def test_one_picture_is_diffusers_own(name: str, mode: str, size: tuple[int, int]) -> None:
    asked = operation(mode, size)
    same(ours(name, asked), by_hand(name, asked))


@pytest.mark.parametrize(
    ("name", "mode", "count"),
    [
        *((name, mode, 2) for name in ("flux.2 klein", "flux.2 klein kv") for mode in ("txt2img", "edit")),
        ("flux.2 klein", "masking", 1),
        *(("flux kontext", mode, 1) for mode in ("txt2img", "masking")),
        ("qwen-image-edit-plus", "edit", 2),
    ],
)
def test_references_are_seen_as_in_diffusers(name: str, mode: str, count: int) -> None:
    asked = operation(mode, references=references(count))
    drawn = ours(name, asked)
    same(drawn, by_hand(name, asked))
    assert drawn.tobytes() != ours(name, operation(mode)).tobytes()


def test_each_further_reference_has_its_own_place() -> None:
    asked = [operation("edit", references=several) for several in (references(), references()[::-1], references(1), ())]
    assert len({ours("flux kontext", one).tobytes() for one in asked}) == 4


@pytest.mark.parametrize("size", [(1100, 1200), (64, 400), (70, 90)])
def test_large_references_are_reduced_as_in_diffusers(size: tuple[int, int]) -> None:
    image, processor = photograph(*size), Flux2ImageProcessor(vae_scale_factor=16)
    reduced = Flux2ImageProcessor._resize_if_exceeds_area(image)
    width, height = (side // 16 * 16 for side in reduced.size)
    by_hand = processor.preprocess(reduced, height=height, width=width, resize_mode="crop")
    assert torch.equal(processor.preprocess(in_whole_cells(image, 16)), by_hand)


@pytest.mark.parametrize("size", [(1, 1), (5000, 3)])
def test_references_of_any_shape_are_seen(size: tuple[int, int]) -> None:
    assert all(side >= 16 and side % 16 == 0 for side in in_whole_cells(photograph(*size), 16).size)


@pytest.mark.parametrize("name", ["flux.2 klein", "flux.2 klein kv", "qwen-image-edit-plus"])
def test_the_next_edit_of_a_document_encodes_nothing(name: str) -> None:
    parts = model(name)
    calls: list[None] = []
    first = operation("edit", references=references(), prompt="read once")
    begun(name, first)
    vae: Any = parts.autoencoder.module
    modules = [vae.encoder, parts.denoiser.module, *(part.module for part in parts.text_encoders)]
    hooks = [module.register_forward_hook(lambda *_: calls.append(None)) for module in modules]
    try:
        begun(name, operation("edit", references=references(), prompt="read once"), seed=9)
    finally:
        for hook in hooks:
            hook.remove()
    assert not calls


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("flux", mode) for mode in ("img2img", "masking")),
        ("flux schnell", "txt2img"),
        ("flux kontext", "edit"),
    ],
)
def test_negative_prompts_act_with_true_guidance(name: str, mode: str) -> None:
    asked = operation(mode, true_guidance=2.5)
    drawn = ours(name, asked)
    same(drawn, by_hand(name, asked))
    assert drawn.tobytes() != ours(name, operation(mode)).tobytes()
    assert drawn.tobytes() != ours(name, operation(mode, true_guidance=2.5, negative_prompt="green")).tobytes()


# What diffusers has no pipeline for, or a broken one, or one with another decoder.
OURS = [
    *((name, mode) for name in ("krea 2", "sana", "lumina 2") for mode in ("img2img", "masking")),
    *((name, "masking") for name in ("stable diffusion 3", "chroma", "sana sprint", "latent consistency")),
]


@pytest.mark.parametrize(
    ("name", "mode", "scheduler"),
    [(*pair, None) for pair in OURS]
    + [("pixart sigma", mode, name) for mode, name in (("img2img", "ddim"), ("masking", "plms"))],
)
def test_images_and_masks_work_in_latents_where_there_is_no_pipeline(
    name: str, mode: str, scheduler: str | None
) -> None:
    parts = model(name)
    family: Any = family_of(parts.pipeline)
    row = begun(name, operation(mode, scheduler=scheduler))
    kept = row.kept
    denoise(family, parts, row)
    assert row.latents.isfinite().all()
    other = denoise(family, parts, begun(name, operation(mode, scheduler=scheduler), 9)).latents
    assert other is not None
    if mode == "img2img":
        assert not torch.equal(row.latents, other)
        return
    black = (kept.levels == 0).expand_as(row.latents)
    assert black.any()
    assert torch.equal(row.latents[black], kept.latents[black])
    assert not torch.equal(row.latents[~black], other[~black])


@pytest.mark.parametrize("name", ["flux", "flux.2 klein", "qwen-image", "sana"])
def test_the_size_of_a_cell_is_read_from_the_autoencoder(name: str) -> None:
    parts = model(name)
    family: Any = family_of(parts.pipeline)
    assert scale_factor(parts.autoencoder.module) == family.cell(parts)


@pytest.mark.parametrize(("name", "mode"), [pair for pair in HAND if pair[0] != "flux.2 klein kv"])
def test_rows_that_share_forwards_are_as_alone(name: str, mode: str) -> None:
    parts = model(name)
    family = family_of(parts.pipeline)
    asked = [operation(mode), operation(mode, steps=4, guidance=2.0, prompt="a cat")]
    rows = [begun(name, one, seed) for seed, one in enumerate(asked)]
    assert rows[0].key == rows[1].key
    while present := [row for row in rows if not row.done]:
        assert not step(family, parts, present)
    for seed, (one, row) in enumerate(zip(asked, rows, strict=True)):
        alone = denoise(family, parts, begun(name, one, seed)).latents
        assert alone is not None
        assert (row.latents - alone).abs().max() <= 1e-4 * alone.abs().max()
