"""Edits of canvases that are larger than the model: what is drawn, what is kept, and what forwards are shared."""

from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionInpaintPipeline,
)
from hypothesis import given
from hypothesis import strategies as st
from icc import adobe_rgb
from pictures import composite, photograph, png
from PIL import Image, ImageChops, ImageDraw, ImageOps
from requested import request
from running import generate, serve
from tiny_controls import control_net
from tiny_families import filled, remade, sd
from tiny_model import make_unet

from sd_api.engine import composing
from sd_api.engine.composing import layer
from sd_api.engine.passes import Drawn
from sd_api.errors import JobCancelled
from sd_api.generation.controls import Control
from sd_api.generation.engine import Progress
from sd_api.generation.fields import derived
from sd_api.generation.images import ImageRef
from sd_api.generation.metadata import read_parameters
from sd_api.generation.operations import Inpaint
from sd_api.generation.plan import Box, size_of
from sd_api.generation.planning import UNKNOWN
from sd_api.generation.result import Placement
from sd_api.generation.spec import JobSpec
from sd_api.imaging.collage import Collage
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.profiles import from_srgb, to_srgb
from sd_api.imaging.sizing import resized
from sd_api.jobs.job import Job
from sd_api.models.tiling import cut, merged, pasted
from sd_api.wiring import build_engine

SIDE = 64
CANVAS = photograph(400, 300)
FAR, NEAR = (300, 40, 330, 70), (40, 200, 70, 230)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that was trained with squares of 64 x 64 pixels, as its files say."""
    folder = tmp_path_factory.mktemp("small")
    pipeline = sd()
    pipeline.register_modules(unet=filled(remade(make_unet(), sample_size=SIDE // 8)))
    pipeline.save_pretrained(folder)
    control_net(pipeline.unet).save_pretrained(folder / "others" / "controlnet" / "lines")
    return folder


@pytest.fixture(scope="module")
def engine(model: Path, make_settings: Any) -> Any:
    settings = make_settings(model=str(model), requires_safety_checker=False, models_folder=str(model / "others"))
    engine = build_engine(settings)
    engine.load()
    return engine


def masked(*boxes: Box, size: tuple[int, int] = CANVAS.size) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


def edit(*boxes: Box, image: Image.Image = CANVAS, **fields: Any) -> JobSpec:
    # DDIM makes one forward for each step.
    fields = {"strength": 1.0, "steps": 2, "scheduler": "ddim", **fields}
    return request(image=image, mask=masked(*boxes, size=image.size), **fields)


def drawn(engine: Any, spec: JobSpec) -> Image.Image:
    (picture,) = generate(engine, spec).images
    image = Image.open(BytesIO(picture.png))
    image.load()
    return image


def array(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image, np.int16)


def forwards(engine: Any) -> Any:
    """Shapes of what goes through the UNet, in a list that grows."""
    shapes: list[tuple[int, ...]] = []
    unet = engine._library.get(None).parts.denoiser.module
    return shapes, unet.register_forward_hook(lambda _module, inputs, _output: shapes.append(tuple(inputs[0].shape)))


def test_a_region_is_what_diffusers_makes_of_the_same_crop(engine: Any, model: Path) -> None:
    # On the cells of the latents, where diffusers' masks and those of the server are the same.
    masked_part = (200, 150, 232, 182)
    spec = edit(masked_part, context=48, seam=0).for_model(engine.status().abilities[None])
    ((one,),) = [region.passes for region in spec.plan.regions]
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(model, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    crop, mask = CANVAS.crop(one.box), masked(masked_part).crop(one.box)
    width, height = one.size
    assert (one.box, one.size) == ((152, 102, 280, 230), (128, 128))
    operation = spec.operation
    made = pipeline(
        prompt=operation.prompt,
        image=crop,
        mask_image=mask,
        width=width,
        height=height,
        num_inference_steps=operation.steps,
        guidance_scale=operation.guidance,
        strength=1.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    expected = CANVAS.copy()
    expected.paste(composite(crop, made, mask), one.box[:2])
    assert (array(drawn(engine, spec)) == array(expected)).all()


def test_a_region_follows_the_same_part_of_its_map(engine: Any, model: Path) -> None:
    masked_part = (200, 150, 232, 182)
    plain = edit(masked_part, context=48, seam=0).for_model(engine.status().abilities[None])
    ((one,),) = [region.passes for region in plain.plan.regions]
    pipeline = StableDiffusionControlNetInpaintPipeline.from_pretrained(
        model,
        controlnet=ControlNetModel.from_pretrained(model / "others" / "controlnet" / "lines"),
        safety_checker=None,
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    crop, mask = CANVAS.crop(one.box), masked(masked_part).crop(one.box)
    before = array(drawn(engine, plain))
    # One has the canvas's size; the other is brought to it first.
    for followed in (ImageOps.mirror(CANVAS), photograph(200, 150, seed=3)):
        made = pipeline(
            prompt=plain.operation.prompt,
            image=crop,
            mask_image=mask,
            control_image=resized(followed, CANVAS.size).crop(one.box),
            controlnet_conditioning_scale=1.5,
            num_inference_steps=plain.operation.steps,
            guidance_scale=plain.operation.guidance,
            strength=1.0,
            generator=torch.Generator("cpu").manual_seed(7),
        ).images[0]
        expected = CANVAS.copy()
        expected.paste(composite(crop, made, mask), one.box[:2])
        image = ImageRef(png(followed), "image", "controls", max_pixels=10**6)
        control = Control(model="lines", image=image, weight=1.5)
        spec = edit(masked_part, context=48, seam=0, controls=(control,))
        assert (array(drawn(engine, spec)) == array(expected)).all()
        assert (array(expected) != before).any()
    assert (array(drawn(engine, plain)) == before).all()


@pytest.mark.parametrize("preprocessor", ["none", "canny", "inpaint"])
def test_tiles_and_further_pictures_follow_an_image_as_well(engine: Any, preprocessor: str) -> None:
    """The image of the request itself is followed where none is sent, also in the second pass of a large part."""
    large = edit((20, 20, 380, 280))
    control = Control(model="lines", preprocessor=preprocessor)
    followed = edit((20, 20, 380, 280), controls=(control,))
    assert len(followed.for_model(engine.status().abilities[None]).plan.regions[0].passes) == 2
    before = array(drawn(engine, large))
    changed = array(drawn(engine, followed))
    kept = np.asarray(masked((20, 20, 380, 280))) == 0
    assert (changed[kept] == array(CANVAS)[kept]).all()
    assert (changed != before).any(axis=2).mean() > 0.3


def test_a_thin_ring_is_drawn_wherever_it_lies_in_its_box(engine: Any) -> None:
    mask = Image.new("L", CANVAS.size)
    ImageDraw.Draw(mask).ellipse((100, 60, 240, 200), outline=255, width=4)
    spec = request(image=CANVAS, mask=mask, strength=1.0, steps=2, scheduler="ddim")
    changed = np.abs(array(drawn(engine, spec)) - array(CANVAS)).max(axis=2) > 0
    inside = np.asarray(mask) > 0
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.9


def test_regions_are_drawn_as_each_alone_and_everything_else_is_kept(engine: Any) -> None:
    both = array(drawn(engine, edit(FAR, NEAR)))
    # Corners and edges of the canvas are no special place.
    for box in (FAR, NEAR):
        left, upper, right, lower = box
        alone = array(drawn(engine, edit(box)))
        assert (both[upper:lower, left:right] == alone[upper:lower, left:right]).all()
        assert (both[upper:lower, left:right] != array(CANVAS)[upper:lower, left:right]).mean() > 0.5
    kept = np.asarray(masked(FAR, NEAR)) == 0
    assert (both[kept] == array(CANVAS)[kept]).all()


@pytest.mark.usefixtures("at_once")
def test_regions_of_pictures_and_jobs_share_forwards(engine: Any) -> None:
    other = edit((100, 100, 130, 130), image=photograph(500, 220, seed=1))
    jobs = [Job(edit(FAR, NEAR, seeds=(7, 8))), Job(other)]
    shapes, hook = forwards(engine)
    serve(engine, jobs)
    hook.remove()
    # Two regions of two pictures, and one of another canvas, each with and without the prompt.
    assert shapes == [(10, 4, 16, 16)] * 2
    alone = array(drawn(engine, other))
    assert np.abs(array(Image.open(BytesIO(jobs[1].result().images[0].png))) - alone).max() <= 1


def test_a_canvas_of_twelve_megapixels_costs_what_its_mask_costs(engine: Any) -> None:
    # Flat, because encoding a PNG file of noise takes longer than all else.
    canvas = Image.new("RGB", (4000, 3000), (90, 120, 150))
    shapes, hook = forwards(engine)
    result = drawn(engine, edit((3980, 2980, 4000, 3000), image=canvas))
    hook.remove()
    assert shapes == [(2, 4, 8, 8)] * 2
    assert result.size == (4000, 3000)
    assert result.crop((0, 0, 3980, 3000)).getcolors() == [(3980 * 3000, (90, 120, 150))]
    assert array(result.crop((3980, 2980, 4000, 3000))).std() > 1
    parameters = read_parameters(result.info["parameters"])
    assert parameters is not None
    assert parameters.regions == "52x52+3948+2948 at 64x64"


def test_a_large_region_is_refined_in_tiles_and_its_steps_are_reported(engine: Any) -> None:
    steps: list[tuple[int, int]] = []
    job = Job(edit((50, 50, 250, 250), steps=6))
    job.listen(lambda job: steps.append((job.progress.step, job.progress.steps)) if job.progress else None)
    shapes, hook = forwards(engine)
    serve(engine, [job])
    hook.remove()
    _first, second = job.spec.for_model(engine.status().abilities[None]).plan.regions[0].passes
    # Six steps at the model's own scale, and the last two of six in tiles.
    assert shapes == [(2, 4, 8, 8)] * (6 + 2 * len(second.tiles))
    assert len(second.tiles) > 4
    assert steps[-1] == (8, 8)
    assert steps == sorted(steps)
    result = Image.open(BytesIO(job.result().images[0].png))
    kept = np.asarray(masked((50, 50, 250, 250))) == 0
    assert (array(result)[kept] == array(CANVAS)[kept]).all()
    assert array(result)[50:250, 50:250].std() > 5


def test_a_step_of_many_tiles_ends_where_its_job_is_cancelled(engine: Any) -> None:
    class Cancelled(Job):
        def report(self, progress: Progress) -> None:
            if progress.step >= 6 and len(shapes) > 8:
                raise JobCancelled("Enough.")
            super().report(progress)

    shapes, hook = forwards(engine)
    serve(engine, [Cancelled(edit((50, 50, 250, 250), steps=6))])
    hook.remove()
    assert len(shapes) == 9


@pytest.mark.parametrize("mode", ["txt2img", "img2img"])
def test_pictures_beyond_the_models_reach_are_refined_in_tiles(engine: Any, mode: str) -> None:
    fields: dict[str, Any] = {"size": (192, 128), "steps": 4, "scheduler": "ddim"}
    if mode == "img2img":
        fields |= {"image": photograph(192, 128), "strength": 0.9}
    shapes, hook = forwards(engine)
    result = drawn(engine, request(**fields))
    hook.remove()
    assert result.size == (192, 128)
    assert array(result).std() > 5
    # In tiles as high as the picture, of which fewer cover it.
    assert shapes[-1] == (2, 4, 16, 8)
    del shapes[:]
    whole = drawn(engine, request(**fields, plan="whole"))
    assert whole.size == (192, 128)


def test_one_tile_is_plain() -> None:
    tensor = torch.randn(1, 4, 8, 12)
    assert torch.equal(merged([(tensor, (0, 0, 12, 8))], (12, 8)), tensor)
    assert (array(pasted([(CANVAS, (0, 0, 400, 300))], (400, 300))) == array(CANVAS)).all()


@given(st.integers(1, 5), st.integers(1, 5))
def test_tiles_of_one_picture_are_that_picture(across: int, down: int) -> None:
    tiles = [(x * 8, y * 8, x * 8 + 16, y * 8 + 16) for y in range(down) for x in range(across)]
    size = across * 8 + 8, down * 8 + 8
    tensor = torch.randn(1, 4, size[1], size[0])
    assert torch.allclose(merged([(cut(tensor, tile), tile) for tile in tiles], size), tensor, atol=1e-5)
    picture = CANVAS.crop((0, 0, *size))
    assert np.abs(array(pasted([(picture.crop(tile), tile) for tile in tiles], size)) - array(picture)).max() <= 1


def test_what_is_added_to_a_canvas_is_drawn_and_the_rest_kept(engine: Any) -> None:
    result = array(drawn(engine, edit(extend="0,0,40,8")))
    assert result.shape == (308, 440, 3)
    assert (result[:300, :400] == array(CANVAS)).all()
    assert result[:, 400:].std() > 1


@pytest.mark.parametrize("fill", ["blur", "neutral", "noise", "border"])
def test_a_masked_part_may_begin_with_something_else(engine: Any, fill: str) -> None:
    original = array(drawn(engine, edit(FAR, strength=0.5, seam=0)))
    result = array(drawn(engine, edit(FAR, strength=0.5, seam=0, fill=fill)))
    left, upper, right, lower = FAR
    assert (result[upper:lower, left:right] != original[upper:lower, left:right]).mean() > 0.2
    kept = np.asarray(masked(FAR)) == 0
    assert (result[kept] == array(CANVAS)[kept]).all()


def test_a_mask_grows_and_inverts_and_fades(engine: Any) -> None:
    wider = array(drawn(engine, edit(FAR, mask_grow=4, seam=0)))
    changed = (wider != array(CANVAS)).any(axis=2)
    left, upper, right, lower = FAR
    assert not changed[: upper - 4].any()
    assert changed[upper - 4 : lower + 4, left - 4 : right + 4].mean() > 0.9
    spec = edit(FAR)
    inverted = derived(spec.operation, Inpaint, mask=ImageRef.of(masked(FAR).point(lambda v: 255 - v), "mask"))
    assert (array(inverted.replaced) == 255 - array(masked(FAR))).all()
    turned = derived(inverted, Inpaint, mask_invert=True)
    assert (array(turned.replaced) == array(masked(FAR))).all()
    seam = np.abs(array(drawn(engine, edit(FAR, seam=10))) - array(CANVAS)).sum(axis=2)[upper:lower, left:right]
    assert seam[:, 0].mean() < seam[:, 14].mean() / 2


@pytest.mark.parametrize("fields", [{"context": 0}, {"region": "60,60,100,100"}], ids=str)
def test_a_mask_fades_where_the_model_sees_no_farther(engine: Any, fields: dict[str, Any]) -> None:
    spec = edit((80, 80, 160, 200), seam=12, **fields).for_model(UNKNOWN)
    operation: Any = spec.operation
    (region,) = spec.plan.regions
    left, upper, right, lower = region.edit
    white = Image.new("RGB", size_of(region.passes[-1].box), "white")
    canvas = Image.new("RGB", CANVAS.size)
    black = derived(operation, Inpaint, image=ImageRef.of(canvas, "image"))
    rows = composing.composed(black, spec.plan, Drawn(0, [white], nsfw=False)).rows(0, CANVAS.height)
    shown = rows[upper:lower, left:right, 0].astype(int)
    for border in (shown[0], shown[-1], shown[:, 0], shown[:, -1]):
        assert border.max() < 10
    assert shown[shown.shape[0] // 2, shown.shape[1] // 2] == 255


def placed(engine: Any, spec: JobSpec) -> tuple[Image.Image, Placement]:
    """A layer or a patch, and where it lies."""
    (picture,) = generate(engine, spec).images
    assert picture.placement is not None
    image = Image.open(BytesIO(picture.png))
    assert image.mode == "RGBA"
    image.load()
    return image, picture.placement


@pytest.mark.parametrize(
    "fields",
    [{}, {"mask_blur": 3}, {"extend": "8,0,16,8"}, {"strength": 0.0}, {"inpaint_area": "whole", "seam": 4}],
    ids=["plain", "soft", "extended", "no_steps", "whole"],
)
def test_a_layer_or_patch_over_the_canvas_is_the_image(engine: Any, fields: dict[str, Any]) -> None:
    spec = edit(FAR, NEAR, **fields)
    operation: Any = spec.operation
    expected = drawn(engine, spec)
    canvas = Image.new("RGBA", expected.size)
    canvas.paste(CANVAS, operation.margins[:2])
    for output in ("layer", "patch"):
        image, placement = placed(engine, edit(FAR, NEAR, **fields, output=output))
        over = canvas.copy()
        over.alpha_composite(image, (placement.x, placement.y))
        assert np.abs(array(over.convert("RGB")) - array(expected)).max() <= 1
        assert over.getchannel("A").getextrema() == (255, 255)
        box = operation.replaced.getbbox() if output == "patch" else (0, 0, *expected.size)
        assert placement == Placement(box[0], box[1], *expected.size)
        assert image.size == (box[2] - box[0], box[3] - box[1])
        # Outside of the edit there is nothing, not even a colour.
        assert not np.asarray(image)[np.asarray(operation.replaced.crop(box)) == 0].any()
        assert np.asarray(image).any() == bool(operation.steps_run)


def test_what_is_added_to_a_transparent_canvas_is_opaque_in_the_image_as_in_the_layer(engine: Any) -> None:
    canvas = CANVAS.copy()
    canvas.putalpha(Image.linear_gradient("L").resize(CANVAS.size))
    fields: dict[str, Any] = {"image": canvas, "extend": "8,0,16,8", "seam": 6}
    expected = drawn(engine, edit(FAR, **fields))
    image, placement = placed(engine, edit(FAR, **fields, output="layer"))
    over = Image.new("RGBA", expected.size)
    over.paste(canvas, (8, 0))
    assert expected.crop((8, 0, 408, 300)).getchannel("A").getextrema() == canvas.getchannel("A").getextrema()
    over.alpha_composite(image, (placement.x, placement.y))
    added = np.ones((308, 424), bool)
    added[:300, 8:408] = False
    assert (array(expected)[added][:, 3] == 255).all()
    assert np.abs(array(over) - array(expected)).max() <= 1


def test_a_patch_of_nothing_is_a_transparent_pixel(engine: Any) -> None:
    image, placement = placed(engine, edit(output="patch"))
    assert (image.size, image.getextrema()) == ((1, 1), ((0, 0),) * 4)
    assert placement == Placement(0, 0, *CANVAS.size)


@pytest.mark.parametrize("output", ["layer", "patch"])
def test_of_a_layer_no_more_is_held_than_the_mask_shows(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    made = edit((0, 0, 20, 20), (360, 280, 390, 300), output=output, region="0,0,400,300")
    spec = made.for_model(UNKNOWN)
    held: list[Any] = []
    monkeypatch.setattr(Collage, "lay", lambda _, piece: held.append(piece))
    canvases: list[Any] = []
    monkeypatch.setattr(Collage, "__init__", lambda _, canvas, *__: canvases.append(canvas))
    shown = CANVAS.crop(spec.plan.regions[0].passes[-1].box)
    operation: Any = spec.operation
    drawn = Drawn(0, [shown], nsfw=False)
    layer(operation, spec.plan, drawn)
    assert sum(image.width * image.height for _, image, _ in held) == 20 * 20 + 30 * 20
    assert [canvas.shape for canvas in canvases] == [(1, 1, 4)]
    assert not drawn.regions


def test_a_flagged_layer_is_black_where_the_mask_is() -> None:
    spec = edit(FAR, output="patch", seam=0).for_model(UNKNOWN)
    operation: Any = spec.operation
    shown = CANVAS.crop(spec.plan.regions[0].passes[-1].box)
    made, _ = layer(operation, spec.plan, Drawn(0, [shown], nsfw=True))
    image = made.rows(0, made.size[1])
    assert image.shape == (FAR[3] - FAR[1], FAR[2] - FAR[0], 4)
    assert image.max(axis=(0, 1)).tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize("seam", [0, 9])
def test_a_drawing_meets_the_canvas_in_squares_as_in_one_piece(monkeypatch: pytest.MonkeyPatch, seam: int) -> None:
    mask = Image.new("L", CANVAS.size)
    # Kept pixels within, at the borders of squares, and none far away from them.
    mask.paste(255, (131, 97, 390, 290))
    mask.paste(0, (200, 150, 220, 171))
    spec = request(image=CANVAS, mask=mask, strength=1.0, seam=seam).for_model(UNKNOWN)
    operation: Any = spec.operation
    assert len(spec.plan.regions) == 1
    shifted = CANVAS.point([min(level + 6, 255) for level in range(256)] * 3)
    shown = shifted.crop(spec.plan.regions[0].passes[-1].box)

    def rows() -> Any:
        return composing.composed(operation, spec.plan, Drawn(0, [shown], nsfw=False)).rows(0, CANVAS.height)

    whole = rows()
    assert (whole != array(CANVAS)).any()
    assert (whole != array(shifted)).any()
    monkeypatch.setattr(composing, "_MATCHED", 48)
    monkeypatch.setattr(composing, "_HELD", 20)
    assert (rows() == whole).all()


@pytest.mark.parametrize("fields", [{}, {"extend": "8,0,0,4"}, {"strength": 0.0}], ids=str)
def test_what_is_kept_of_16_bits_and_of_alpha_stays_as_it_is(engine: Any, fields: dict[str, Any]) -> None:
    samples = np.random.default_rng(5).integers(0, 65536, (90, 120, 4), np.uint16)
    image = ImageRef(encode_png(samples), "image", "image", samples.size)

    def made(**more: Any) -> Any:
        spec = edit((50, 40, 70, 60), image=photograph(120, 90), seam=0, steps=1, **fields, **more)
        asked = derived(spec.operation, Inpaint, image=image)
        (picture,) = generate(engine, derived(spec, JobSpec, operation=asked)).images
        return asked, imagecodecs.png_decode(picture.png)

    (asked, deep), (_, eight), (_, patch) = made(depth="source"), made(), made(depth="source", output="patch")
    assert (deep.dtype, eight.dtype, deep.shape) == (np.uint16, np.uint8, eight.shape)
    left, upper, _, _ = asked.margins
    inside = (slice(upper, upper + 90), slice(left, left + 120))
    replaced = (np.asarray(asked.replaced) > 0) & bool(asked.steps_run)
    assert np.array_equal(deep[inside][~replaced[inside]], samples[~replaced[inside]])
    assert np.array_equal(deep[replaced], eight[replaced].astype(np.uint16) * 257)
    assert (eight[replaced][:, 3] == 255).all()
    assert (patch.dtype, patch.shape[2]) == (np.uint16, 4)


def test_a_second_edit_of_the_same_pixels_encodes_nothing_and_is_the_same(engine: Any) -> None:
    encoded: list[int] = []
    autoencoder = engine._library.get(None).parts.autoencoder.module
    hook = autoencoder.encoder.register_forward_hook(lambda *_: encoded.append(1))
    image = photograph(120, 90, seed=9)
    first, again = (drawn(engine, edit((50, 40, 70, 60), image=image, steps=1)) for _ in range(2))
    hook.remove()
    assert (first.tobytes(), encoded) == (again.tobytes(), [1])


@pytest.mark.parametrize("fields", [{"seam": 0}, {"extend": "0,0,8,0"}, None], ids=["masked", "extended", "whole"])
def test_a_document_is_drawn_in_its_own_colours(engine: Any, fields: dict[str, Any] | None) -> None:
    # Muted, so that sRGB has all of its colours.
    canvas = Image.blend(photograph(128, 96), Image.new("RGB", (128, 96), (128, 128, 128)), 0.5)
    document = from_srgb(canvas, adobe_rgb())
    document.info["icc_profile"] = adobe_rgb()

    def made(image: Image.Image) -> Image.Image:
        if fields is None:
            return drawn(engine, request(image=image, steps=2, strength=0.8))
        return drawn(engine, edit((32, 32, 64, 64), image=image, inpaint_area="masked", **fields))

    expected, result = made(canvas), made(document)
    assert result.info["icc_profile"] == adobe_rgb()
    assert np.abs(array(result) - array(expected)).mean() > 2
    shown = np.abs(array(to_srgb(result, adobe_rgb())) - array(expected))
    assert shown.mean() < 1.5
    assert np.percentile(shown, 95) <= 5
    if fields is not None:
        kept = np.asarray(masked((32, 32, 64, 64), size=(128, 96))) == 0
        assert (array(result)[:, :128][kept] == array(document)[kept]).all()


class StoppedEarly(Job):
    """A job that is stopped early when it has made some steps."""

    def __init__(self, spec: JobSpec, steps_done: int) -> None:
        super().__init__(spec)
        self._steps_done = steps_done

    def report(self, progress: Progress) -> None:
        super().report(progress)
        if progress.phase != "loading" and progress.step == self._steps_done:
            self.stop_early("Not wanted.")


@pytest.mark.parametrize("steps_done", [1, 3, 5, 7])
def test_an_edit_that_is_stopped_early_shows_every_region_as_far_as_it_is(engine: Any, steps_done: int) -> None:
    job = StoppedEarly(edit(FAR, NEAR, steps=4), steps_done)
    serve(engine, [job])
    (picture,) = job.result().images
    made = Image.open(BytesIO(picture.png))
    changed = ImageChops.difference(made, CANVAS).convert("L").point(lambda level: 255 * (level > 0))
    assert all(changed.crop(box).getbbox() for box in (FAR, NEAR))
    changed.paste(0, mask=masked(FAR, NEAR))
    assert changed.getbbox() is None


@pytest.mark.parametrize("steps_done", [2, 5])
def test_a_large_picture_that_is_stopped_early_has_its_full_size(engine: Any, steps_done: int) -> None:
    spec = request(size=(160, 128), steps=4, scheduler="ddim")
    assert len(spec.for_model(engine.status().abilities[None]).plan.regions[0].passes) == 2
    job = StoppedEarly(spec, steps_done)
    serve(engine, [job])
    (picture,) = job.result().images
    assert Image.open(BytesIO(picture.png)).size == (160, 128)
