"""ControlNets and T2I adapters act as in diffusers' own pipelines, for the rows that ask for them."""

from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import controlled
import diffusers
import numpy as np
import pytest
import torch
from controlled import FIRST, IMAGE, MAP, MASK, OTHER_MAP, SECOND, SEED, SIDE, STEPS, begun, control, ours
from diffusers import ControlNetModel, MultiAdapter, MultiControlNetModel
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from pictures import photograph
from running import FullAt
from tiny_controls import control_net, save_single, t2i_adapter, union_net
from tiny_families import sd, sdxl

from sd_api.engine.diffusion import step
from sd_api.errors import OutOfLimits, ServerError
from sd_api.generation.fields import derived
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Inpaint, TextToImage
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.folders import CONTROLNET, ModelFolders
from sd_api.models.schedulers import make_scheduler

asked = partial(controlled.asked, scheduler="euler")


@cache
def pipeline(name: str) -> Any:
    made = {"sd": sd, "sd inpainting": lambda: sd(9), "sdxl": sdxl}[name]()
    made.set_progress_bar_config(disable=True)
    return made


@cache
def nets(name: str) -> dict[str, Any]:
    unet = pipeline(name).unet
    made = {
        "lines": control_net(unet),
        "depth": control_net(unet, 0.5),
        "t2i": t2i_adapter(),
        "grey": t2i_adapter((32,), 1),
    }
    return made | ({"union": union_net(unet)} if name == "sdxl" else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("controlnets")
    for name in ("sd", "sdxl"):
        made = nets(name)
        for kind in ("lines", "t2i", "grey", "union"):
            if kind in made:
                made[kind].save_pretrained(path / name / kind)
        save_single(made["depth"], path / name / "files" / "depth.safetensors")
        save_single(made["t2i"], path / name / "files" / "t2i-file.safetensors", original=True)
    if "union" in nets("sdxl"):
        save_single(nets("sdxl")["union"], path / "sdxl" / "files" / "union-file.safetensors")
    # It takes the latents alone, also where the model takes more.
    save_single(
        control_net(pipeline("sd inpainting").unet, in_channels=4), path / "sd inpainting" / "lines.safetensors"
    )
    save_single(nets("sd")["depth"], path / "sd" / "original.safetensors", original=True)
    nets("sdxl")["lines"].save_pretrained(path / "sd" / "wide")
    save_single(t2i_adapter((64, 64)), path / "sd" / "other.safetensors")
    broken = path / "sd" / "broken.safetensors"
    broken.write_bytes((path / "sd" / "files" / "depth.safetensors").read_bytes()[:-9])
    return path


def parts_of(name: str, folder: Path) -> Parts:
    folders = ModelFolders({CONTROLNET: (folder / name,)})
    return Parts(pipeline(name), torch.device("cpu"), lambda _: None, folders=folders)


@cache
def model(name: str, folder: Path) -> Parts:
    return parts_of(name, folder)


def by_hand(name: str, operation: Operation, class_name: str, **arguments: Any) -> torch.Tensor:
    """The latents of one of diffusers' pipelines, with the arguments that say what it follows."""
    modules = {key: arguments.pop(key) for key in ("controlnet", "adapter") if key in arguments}
    options = {} if name == "sdxl" else {"safety_checker": None, "requires_safety_checker": False}
    made = getattr(diffusers, class_name).from_pipe(pipeline(name), **modules, **options)
    made.scheduler = make_scheduler("euler", pipeline(name).scheduler)
    made.set_progress_bar_config(disable=True)
    if isinstance(operation, TextToImage):
        arguments |= {"width": SIDE, "height": SIDE}
    elif isinstance(operation, Inpaint):
        arguments |= {"image": IMAGE, "mask_image": MASK, "width": SIDE, "height": SIDE, "strength": 0.75}
    else:
        arguments |= {"image": IMAGE, "strength": 0.75}
    latents: torch.Tensor = made(
        operation.prompt,
        negative_prompt=operation.negative_prompt,
        num_inference_steps=STEPS,
        guidance_scale=operation.guidance,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
        **arguments,
    ).images
    return latents


PIPELINES = {"txt2img": "", "img2img": "Img2Img", "masking": "Inpaint"}


@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize("kind", PIPELINES)
def test_control_nets_act_as_in_diffusers(name: str, kind: str, folder: Path) -> None:
    parts, made = model(name, folder), nets(name)
    class_name = f"StableDiffusion{'XL' if name == 'sdxl' else ''}ControlNet{PIPELINES[kind]}Pipeline"
    key = "image" if kind == "txt2img" else "control_image"
    plain = ours(parts, asked(kind))
    one = asked(kind, control("lines", weight=0.8))
    expected = by_hand(name, one, class_name, controlnet=made["lines"], controlnet_conditioning_scale=0.8, **{key: MAP})
    assert torch.equal(ours(parts, one), expected)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
    both = asked(kind, control("lines", **FIRST), control("depth", OTHER_MAP, **SECOND))
    expected = by_hand(
        name,
        both,
        class_name,
        controlnet=MultiControlNetModel([made["lines"], made["depth"]]),
        controlnet_conditioning_scale=[0.75, 1.5],
        control_guidance_start=[0.0, 0.25],
        control_guidance_end=[0.5, 1.0],
        **{key: [MAP, OTHER_MAP]},
    )
    assert torch.equal(ours(parts, both), expected)
    if name == "sd":
        first, second = both.controls
        read = derived(both, type(both), controls=(first, replace(second, model="original.safetensors")))
        assert torch.equal(ours(parts, read), expected)
    assert torch.equal(ours(parts, asked(kind)), plain)


def test_the_map_decides_as_in_guess_mode_and_the_prompt_by_softer_layers(folder: Path) -> None:
    # From the same place in memory, its weights round alike.
    parts, made = model("sd", folder), ControlNetModel.from_pretrained(folder / "sd" / "lines").eval()
    decides = asked("txt2img", control("lines", weight=0.8, mode="control"))
    class_name, arguments = "StableDiffusionControlNetPipeline", {"controlnet": made, "image": MAP}
    expected = by_hand("sd", decides, class_name, guess_mode=True, controlnet_conditioning_scale=0.8, **arguments)
    assert torch.equal(ours(parts, decides), expected)
    # A net whose last layers have the factors in their weights.
    softer = deepcopy(made)
    layers = [*softer.controlnet_down_blocks, softer.controlnet_mid_block]
    for number, layer in enumerate(layers):
        for tensor in layer.parameters():
            tensor.data *= 0.825 ** (len(layers) - 1 - number)
    arguments["controlnet"] = softer
    follows = asked("txt2img", control("lines", mode="prompt"))
    assert torch.allclose(ours(parts, follows), by_hand("sd", follows, class_name, **arguments), atol=1e-4)
    rows = [begun(parts, asked("txt2img", control("lines", mode=mode))) for mode in ("balanced", "control")]
    assert rows[0].key != rows[1].key


def test_union_nets_act_as_in_diffusers(folder: Path) -> None:
    parts, made = model("sdxl", folder), nets("sdxl")["union"]
    both = asked("txt2img", control("union", kind="canny", **FIRST), control("union", OTHER_MAP, kind="tile", **SECOND))
    expected = by_hand(
        "sdxl",
        both,
        "StableDiffusionXLControlNetUnionPipeline",
        controlnet=MultiControlNetUnionModel([made, made]),
        control_image=[MAP, OTHER_MAP],
        control_mode=[3, 6],
        controlnet_conditioning_scale=[0.75, 1.5],
        control_guidance_start=[0.0, 0.25],
        control_guidance_end=[0.5, 1.0],
    )
    assert torch.equal(ours(parts, both), expected)
    assert torch.equal(
        ours(
            parts,
            derived(both, TextToImage, controls=(replace(both.controls[0], model="union-file"), both.controls[1])),
        ),
        expected,
    )


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_t2i_adapters_act_as_in_diffusers(name: str, folder: Path) -> None:
    parts, made = model(name, folder), nets(name)
    class_name = f"StableDiffusion{'XL' if name == 'sdxl' else ''}AdapterPipeline"
    one = asked("txt2img", control("t2i", weight=0.8))
    expected = by_hand(name, one, class_name, adapter=made["t2i"], image=MAP, adapter_conditioning_scale=0.8)
    assert torch.equal(ours(parts, one), expected)
    assert torch.equal(ours(parts, asked("txt2img", control("t2i-file", weight=0.8))), expected)
    both = asked("txt2img", control("t2i", weight=0.5), control("t2i-file", OTHER_MAP, weight=0.25))
    several = {"adapter": MultiAdapter([made["t2i"], made["t2i"]]), "image": [MAP, OTHER_MAP]}
    expected = by_hand(name, both, class_name, adapter_conditioning_scale=[0.5, 0.25], **several)
    assert torch.equal(ours(parts, both), expected)
    if name == "sdxl":
        half = asked("txt2img", control("t2i", end=0.5))
        expected = by_hand(name, half, class_name, adapter=made["t2i"], image=MAP, adapter_conditioning_factor=0.5)
        assert torch.equal(ours(parts, half), expected)


@pytest.mark.parametrize("name", ["sd", "sd inpainting"])
def test_the_inpainting_net_knows_nothing_of_what_is_replaced(name: str, folder: Path) -> None:
    pixels = torch.from_numpy(np.array(IMAGE)).permute(2, 0, 1)[None] / 255
    pixels[:, :, torch.from_numpy(np.array(MASK)) > 127] = -1
    made = nets("sd")["lines"] if name == "sd" else control_net(pipeline(name).unet, in_channels=4)
    operation = asked("masking", control("lines", IMAGE, preprocessor="inpaint"))
    expected = by_hand(
        name,
        operation,
        "StableDiffusionControlNetInpaintPipeline",
        controlnet=made,
        control_image=pixels,
        controlnet_conditioning_scale=1.0,
    )
    assert torch.equal(ours(model(name, folder), operation), expected)


def test_rows_share_forwards_where_their_nets_are_the_same(folder: Path) -> None:
    parts = model("sd", folder)
    several = [
        (),
        (control("lines", end=0.5),),
        (control("lines", OTHER_MAP, weight=0.5, start=0.3),),
        (control("depth"),),
        (control("lines"), control("t2i")),
        (control("lines", OTHER_MAP), control("t2i-file", OTHER_MAP, end=0.5)),
    ]
    rows = [begun(parts, asked("txt2img", *controls)) for controls in several]
    assert [[row.key == other.key for other in rows].index(True) for row in rows] == [0, 1, 1, 3, 4, 4]
    for _ in range(STEPS):
        for group in (rows[:1], rows[1:3], rows[3:4], rows[4:]):
            assert not step(family_of(parts.pipeline), parts, group)
    for controls, row in zip(several, rows, strict=True):
        alone = ours(parts, asked("txt2img", *controls))
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_each_tile_follows_its_own_part(folder: Path) -> None:
    """A map of which only one tile shows something changes that tile alone."""
    parts = model("sd", folder)
    tiles = [(0, 0, 64, 64), (64, 0, 128, 64)]
    family = family_of(parts.pipeline)
    black = photograph(128, 64).point(lambda _: 0)
    half = black.copy()
    half.paste(MAP, (0, 0))
    wide = derived(asked("txt2img"), TextToImage, width=128)
    for name in ("lines", "t2i"):
        rows = [
            begun(parts, derived(wide, TextToImage, controls=(control(name, image),)), tiles) for image in (black, half)
        ]
        for row in rows:
            assert not step(family, parts, [row])
        changed = (rows[0].latents - rows[1].latents).abs().amax((0, 1, 2))
        assert changed[:8].min() > 0
        assert not changed[8:].any()


def test_odd_numbers_of_cells_are_followed(folder: Path) -> None:
    operation = derived(
        asked("txt2img"), TextToImage, width=72, height=88, controls=(control("t2i", photograph(72, 88)),)
    )
    assert ours(model("sd", folder), operation).shape[2:] == (11, 9)


def test_the_model_itself_is_never_changed(folder: Path) -> None:
    parts = parts_of("sd", folder)
    plain, followed = asked("txt2img"), asked("txt2img", control("depth"), control("t2i"))
    before = ours(parts, plain)
    with FullAt() as counted:
        expected = ours(parts, followed)
    for number in range(1, counted.count, counted.count // 5):
        parts.controls._cache.clear()
        with pytest.raises((torch.OutOfMemoryError, ServerError)), FullAt(number):
            ours(parts, followed)
        assert torch.equal(ours(parts, plain), before)
    assert torch.equal(ours(parts, followed), expected)
    assert parts.size == sum(part.size for part in (*parts.components.values(), *parts.controls.components))


def test_the_oldest_leaves_where_they_are_larger_than_the_model(folder: Path) -> None:
    parts = parts_of("sd", folder)
    followed = asked("txt2img", control("lines"))
    expected = ours(parts, followed)
    parts.components["unet"].size = 1
    begun(parts, asked("txt2img", control("depth"), control("t2i")))
    assert [part.name for part in parts.controls.components] == ["control files/depth", "control t2i"]
    assert torch.equal(ours(parts, followed), expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "there are: broken, files/depth, files/t2i-file, grey, lines, original, other, t2i, wide"),
        ("../sdxl/lines", "there are: broken"),
        ("broken", "cut short or damaged"),
        ("wide", "made for a model with other layers"),
        ("other", "made for another architecture"),
    ],
)
def test_what_cannot_act_is_refused(folder: Path, name: str, words: str) -> None:
    parts = model("sd", folder)
    for _ in range(2):
        with pytest.raises(OutOfLimits) as refusal:
            begun(parts, asked("txt2img", control("lines"), control(name)))
        assert refusal.value.field == "controls"
        assert words in refusal.value.problem
    with pytest.raises(OutOfLimits, match="kind must be one of openpose"):
        begun(model("sdxl", folder), asked("txt2img", control("union")))
