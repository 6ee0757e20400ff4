"""ControlNets of transformers act as in diffusers' own pipelines, for the rows that ask for them."""

import json
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from controlled import (
    FIRST,
    IMAGE,
    MAP,
    MASK,
    OTHER_MAP,
    SECOND,
    STEPS,
    asked,
    begun,
    control,
    ours,
    theirs,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.controlnets.controlnet_flux import FluxMultiControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3MultiControlNetModel
from pictures import photograph
from tiny_controls import control_net, save_single, transformer_net
from tiny_families import sd
from tiny_pipelines import weights

from sd_api.engine.diffusion import denoise, step
from sd_api.errors import OutOfLimits
from sd_api.generation.abilities import without_effect
from sd_api.generation.fields import derived
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import ImageToImage, Inpaint, TextToImage
from sd_api.generation.references import Reference
from sd_api.models.components import Parts
from sd_api.models.families.packing import pack
from sd_api.models.families.registry import family_of
from sd_api.models.folders import CONTROLNET, ModelFolders
from sd_api.models.schedulers import make_scheduler

NAMES = ("flux", "stable diffusion 3", "qwen-image", "sana", "z-image")


@cache
def nets(name: str) -> dict[str, Any]:
    transformer = weights(name).transformer
    made = {"lines": transformer_net(transformer), "depth": transformer_net(transformer, 0.5)}
    if name == "flux":
        made["union"] = transformer_net(transformer, num_mode=5)
        made["pixels"] = transformer_net(transformer, conditioning_embedding_channels=1, patch_size=2)
    elif name == "stable diffusion 3":
        made["placeless"] = transformer_net(
            transformer, joint_attention_dim=None, use_pos_embed=False, force_zeros_for_pooled_projection=False
        )
        made["inpaint"] = transformer_net(transformer, extra_conditioning_channels=1)
    elif name == "z-image":
        wide: dict[str, Any] = {"control_in_dim": 9, "add_control_noise_refiner": "control_noise_refiner"}
        made["wide"] = transformer_net(transformer, control_refiner_layers_places=[0], **wide)
        wide["add_control_noise_refiner"] = "control_layers"
        made["lent"] = transformer_net(transformer, control_refiner_layers_places=[0], **wide)
    elif name == "qwen-image":
        made["inpaint"] = transformer_net(transformer, extra_condition_channels=4)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("controlnets")
    for name in NAMES:
        for kind, made in nets(name).items():
            made.save_pretrained(path / kind / name)
            save_single(made, path / "files" / kind / f"{name}.safetensors")
    control_net(sd().unet).save_pretrained(path / "unet")
    return path


@cache
def loaded(name: str, kind: str, folder: Path) -> Any:
    """A ControlNet as diffusers loads it: from the same place in memory, its weights round alike."""
    return type(nets(name)[kind]).from_pretrained(folder / kind / name).eval()


@cache
def model(name: str, folder: Path) -> Parts:
    pipeline = weights(name)
    pipeline.set_progress_bar_config(disable=True)
    return Parts(pipeline, torch.device("cpu"), lambda _: None, folders=ModelFolders({CONTROLNET: (folder,)}))


def by_hand(name: str, operation: Operation, class_name: str, net: Any, **arguments: Any) -> torch.Tensor:
    """The latents of one of diffusers' pipelines, with the arguments that say what it follows."""
    made = getattr(diffusers, class_name).from_pipe(weights(name), **({} if net is None else {"controlnet": net}))
    made.scheduler = make_scheduler(None, weights(name).scheduler)
    made.set_progress_bar_config(disable=True)
    if isinstance(operation, (ImageToImage, Inpaint)) and "strength" not in arguments:
        arguments |= {"image": IMAGE, "strength": 0.75}
    if isinstance(operation, Inpaint):
        arguments.setdefault("mask_image", MASK)
    if name == "qwen-image":
        arguments["true_cfg_scale"] = operation.guidance
        arguments["negative_prompt"] = operation.negative_prompt
    else:
        arguments["guidance_scale"] = operation.guidance
    if name == "sana":
        arguments["use_resolution_binning"] = False
    if name in ("stable diffusion 3", "sana", "z-image") or operation.true_guidance > 1:
        arguments["negative_prompt"] = operation.negative_prompt
    if operation.true_guidance > 1:
        arguments["true_cfg_scale"] = operation.true_guidance
    return theirs(made, operation.prompt, **arguments)


@pytest.fixture
def _most_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable Diffusion 3's pipelines draw from no generator that a seed belongs to; here they draw nothing."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def same(one: torch.Tensor, other: torch.Tensor, plain: torch.Tensor) -> None:
    assert torch.equal(one, other), (one - other).abs().max()
    assert (one - plain).abs().max() > 0.01 * plain.abs().max()


@pytest.mark.parametrize(
    ("mode", "class_name"),
    [
        ("txt2img", "FluxControlNetPipeline"),
        ("img2img", "FluxControlNetImg2ImgPipeline"),
        ("masking", "FluxControlNetInpaintPipeline"),
    ],
)
def test_those_of_flux_act_as_in_diffusers(mode: str, class_name: str, folder: Path) -> None:
    parts = model("flux", folder)
    plain = ours(parts, asked(mode))
    one = asked(mode, control("lines/flux", weight=0.8))
    expected = by_hand(
        "flux", one, class_name, loaded("flux", "lines", folder), control_image=MAP, controlnet_conditioning_scale=0.8
    )
    same(ours(parts, one), expected, plain)
    pixels = asked(mode, control("pixels/flux"))
    expected = by_hand("flux", pixels, class_name, loaded("flux", "pixels", folder), control_image=MAP)
    same(ours(parts, pixels), expected, plain)
    assert torch.equal(ours(parts, asked(mode)), plain)


def test_several_act_with_a_negative_prompt(folder: Path) -> None:
    parts, union = model("flux", folder), loaded("flux", "union", folder)
    controls = (
        control("union/flux", kind="depth", **FIRST),
        control("union/flux", OTHER_MAP, kind="tile", **SECOND),
    )
    both = asked("txt2img", *controls, true_guidance=2.5)
    expected = by_hand(
        "flux",
        both,
        "FluxControlNetPipeline",
        FluxMultiControlNetModel([union, union]),
        control_image=[MAP, OTHER_MAP],
        control_mode=[2, 1],
        controlnet_conditioning_scale=[0.75, 1.5],
        control_guidance_start=[0.0, 0.25],
        control_guidance_end=[0.5, 1.0],
    )
    same(ours(parts, both), expected, ours(parts, asked("txt2img", true_guidance=2.5)))


@pytest.mark.usefixtures("_most_probable")
def test_those_of_stable_diffusion_3_act_as_in_diffusers(folder: Path) -> None:
    """Without guidance to the last bit; with it diffusers encodes each map twice at once, which rounds otherwise."""
    name, class_name = "stable diffusion 3", "StableDiffusion3ControlNetPipeline"
    parts = model(name, folder)
    plain = ours(parts, asked("txt2img", guidance=1.0))
    for kind in ("lines", "placeless"):
        one = asked("txt2img", control(f"{kind}/{name}", weight=0.8), guidance=1.0)
        arguments = {"control_image": MAP, "controlnet_conditioning_scale": 0.8}
        same(ours(parts, one), by_hand(name, one, class_name, loaded(name, kind, folder), **arguments), plain)
    both = asked("txt2img", control(f"lines/{name}", **FIRST), control(f"depth/{name}", OTHER_MAP, **SECOND))
    expected = by_hand(
        name,
        both,
        class_name,
        SD3MultiControlNetModel([loaded(name, kind, folder) for kind in ("lines", "depth")]),
        control_image=[MAP, OTHER_MAP],
        controlnet_conditioning_scale=[0.75, 1.5],
        control_guidance_start=[0.0, 0.25],
        control_guidance_end=[0.5, 1.0],
    )
    assert (ours(parts, both) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_those_of_qwen_image_act_as_in_diffusers(folder: Path) -> None:
    parts, net = model("qwen-image", folder), loaded("qwen-image", "lines", folder)
    one = asked("txt2img", control("lines/qwen-image", end=0.5))
    arguments = {"control_image": MAP, "control_guidance_end": 0.5}
    expected = by_hand("qwen-image", one, "QwenImageControlNetPipeline", net, **arguments)
    same(ours(parts, one), expected, ours(parts, asked("txt2img")))


def test_those_of_sana_act_as_in_diffusers(folder: Path) -> None:
    """But for the last bits, which some processors round otherwise; guidance encodes a map twice in diffusers."""
    parts, net = model("sana", folder), loaded("sana", "lines", folder)
    for guidance, most in ((1.0, 1e-6), (5.0, 1e-5)):
        one = asked("txt2img", control("lines/sana", weight=0.8), guidance=guidance)
        arguments = {"control_image": MAP, "controlnet_conditioning_scale": 0.8}
        expected = by_hand("sana", one, "SanaControlNetPipeline", net, **arguments)
        assert (ours(parts, one) - expected).abs().max() <= most * expected.abs().max()
        plain = ours(parts, asked("txt2img", guidance=guidance))
        assert (expected - plain).abs().max() > 0.001 * plain.abs().max()


def test_a_model_that_was_trained_to_follow_a_map_sees_it_as_in_diffusers() -> None:
    pipeline = weights("flux control")
    pipeline.set_progress_bar_config(disable=True)
    parts = Parts(pipeline, torch.device("cpu"), lambda _: None)
    seen = [Reference(image=ImageRef.of(image, "image")) for image in (MAP, OTHER_MAP)]
    latents = [ours(parts, asked("txt2img", references=(reference,))) for reference in seen]
    pipeline.scheduler = make_scheduler(None, pipeline.scheduler)
    assert torch.equal(latents[0], theirs(pipeline, control_image=MAP, guidance_scale=5.0))
    assert not torch.equal(*latents)
    with pytest.raises(OutOfLimits, match="has 0 images; this model follows one"):
        begun(parts, asked("txt2img"))


@pytest.mark.parametrize("kind", ["lines", "wide"])
def test_those_of_z_image_act_as_in_diffusers(kind: str, folder: Path) -> None:
    """They borrow parts of the transformer for each step, and give them back."""
    parts = model("z-image", folder)
    net = type(nets("z-image")[kind]).from_transformer(loaded("z-image", kind, folder), parts.denoiser.module)
    one = asked("txt2img", control(f"{kind}/z-image", weight=0.8))
    expected = by_hand(
        "z-image", one, "ZImageControlNetPipeline", net, control_image=MAP, controlnet_conditioning_scale=0.8
    )
    same(ours(parts, one), expected, ours(parts, asked("txt2img")))
    (own,) = parts.controls.placed(parts.controls.find(one.controls))
    assert not {id(each) for each in own.module.parameters()} & {
        id(each) for each in parts.denoiser.module.parameters()
    }


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NAMES for kind in nets(name)])
def test_single_files_are_built_as_their_folders(name: str, kind: str, folder: Path) -> None:
    controls = model(name, folder).controls
    nets_of: Any = (
        controls.placed(controls.find([control(f"{place}/{name}", kind="tile")]))[0].module
        for place in (kind, f"files/{kind}")
    )
    one, other = nets_of
    built = [{key: each.config[key] for key in signature(type(each)).parameters} for each in (one, other)]
    assert json.loads(json.dumps(built[0])) == json.loads(json.dumps(built[1]))
    weights_of, others = one.state_dict(), other.state_dict()
    assert weights_of.keys() == others.keys()
    assert all(torch.equal(tensor, others[key]) for key, tensor in weights_of.items())


@pytest.mark.usefixtures("_most_probable")
@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("stable diffusion 3", "StableDiffusion3ControlNetInpaintingPipeline"),
        ("qwen-image", "QwenImageControlNetInpaintPipeline"),
    ],
)
def test_those_for_inpainting_see_what_is_kept(name: str, class_name: str, folder: Path) -> None:
    """In diffusers such a pipeline draws all of the picture anew, so here the mask's own effect is left out."""
    parts = model(name, folder)
    followed = asked("masking", control(f"inpaint/{name}", IMAGE, preprocessor="inpaint"))
    row = begun(parts, followed)
    text = begun(parts, asked("txt2img"))
    row = type(text)(**{**vars(text), "controls": row.controls, "key": None})
    drawn = denoise(family_of(parts.pipeline), parts, row).latents
    assert drawn is not None
    expected = by_hand(
        name, asked("txt2img"), class_name, loaded(name, "inpaint", folder), control_image=IMAGE, control_mask=MASK
    )
    same(drawn, expected, ours(parts, asked("txt2img")))
    with pytest.raises(OutOfLimits, match="takes a mask and the preprocessor inpaint"):
        begun(parts, asked("txt2img", control(f"inpaint/{name}")))


@pytest.mark.parametrize(
    ("name", "class_name", "argument"),
    [
        ("stable diffusion 3", "StableDiffusion3InpaintPipeline", "block_controlnet_hidden_states"),
        ("qwen-image", "QwenImageInpaintPipeline", "controlnet_block_samples"),
    ],
)
def test_what_a_mask_keeps_is_blended_as_in_diffusers(name: str, class_name: str, argument: str, folder: Path) -> None:
    """No pipeline of diffusers has both, so its inpainting one is given here what the ControlNet adds."""
    parts, net = model(name, folder), loaded(name, "inpaint", folder)
    masked = asked("masking", control(f"inpaint/{name}", IMAGE, preprocessor="inpaint", weight=0.8), guidance=1.0)
    (followed,) = begun(parts, masked).controls
    known = signature(net.forward).parameters

    def add(_: Any, arguments: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        seen = {key: value for key, value in given.items() if key in known and key != "joint_attention_kwargs"}
        if "pooled_projections" in seen:
            seen["pooled_projections"] = torch.zeros_like(seen["pooled_projections"])
        maps = followed.seen if given["hidden_states"].ndim == 4 else pack(followed.seen)
        several = net(**seen, controlnet_cond=maps, conditioning_scale=0.8)
        return arguments, given | {argument: several[0] if name == "stable diffusion 3" else several}

    hook = weights(name).transformer.register_forward_pre_hook(add, with_kwargs=True)
    try:
        expected = by_hand(name, masked, class_name, None)
    finally:
        hook.remove()
    same(ours(parts, masked), expected, ours(parts, asked("masking", guidance=1.0)))


@pytest.mark.parametrize("name", NAMES)
def test_rows_share_forwards_where_their_nets_are_the_same(name: str, folder: Path) -> None:
    parts = model(name, folder)
    several = [
        (),
        (control(f"lines/{name}", end=0.5),),
        (control(f"lines/{name}", OTHER_MAP, weight=0.5, start=0.3),),
        (control(f"depth/{name}"),),
    ]
    rows = [begun(parts, asked("txt2img", *controls)) for controls in several]
    assert [[row.key == other.key for other in rows].index(True) for row in rows] == [0, 1, 1, 3]
    for _ in range(STEPS):
        assert not step(family_of(parts.pipeline), parts, rows[1:3])
    for controls, row in zip(several[1:3], rows[1:3], strict=True):
        alone = ours(parts, asked("txt2img", *controls))
        assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("kind", ["lines", "pixels"])
def test_each_tile_follows_its_own_part(kind: str, folder: Path) -> None:
    """A map of which only one tile shows something changes that tile alone."""
    parts = model("flux", folder)
    tiles = [(0, 0, 64, 64), (64, 0, 128, 64)]
    black = photograph(128, 64).point(lambda _: 0)
    half = black.copy()
    half.paste(MAP, (0, 0))
    wide = derived(asked("txt2img"), TextToImage, width=128)
    rows = [
        begun(parts, derived(wide, TextToImage, controls=(control(f"{kind}/flux", image),)), tiles)
        for image in (black, half)
    ]
    for row in rows:
        assert not step(family_of(parts.pipeline), parts, [row])
    changed = (rows[0].latents - rows[1].latents).abs().amax((0, 1, 2))
    assert changed[:8].min() > 0
    assert not changed[8:].any()


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("flux", "lines/qwen-image", "it was made for Qwen-Image; this model is FLUX.1"),
        ("flux", "unet", "it was made for a model whose prompts are 64 wide; this model is FLUX.1"),
        ("flux", "union/flux", "kind must be one of canny, tile, depth, blur, openpose"),
    ],
)
def test_what_cannot_act_is_refused(name: str, file: str, words: str, folder: Path) -> None:
    with pytest.raises(OutOfLimits, match=words) as refusal:
        begun(model(name, folder), asked("txt2img", control(file)))
    assert refusal.value.field == "controls"


@pytest.mark.parametrize("name", ["chroma", "flux fill", "flux kontext", "qwen-image-edit"])
def test_models_without_them_say_so(name: str, folder: Path) -> None:
    parts = model(name, folder)
    abilities = family_of(parts.pipeline).abilities(parts)
    assert [each for each in without_effect(abilities, asked("txt2img", control("lines/flux"))) if "controls" in each]
