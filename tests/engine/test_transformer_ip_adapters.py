"""IP-Adapters of transformers act as in diffusers' own pipelines, for the rows that ask for them."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from controlled import IMAGE, MASK, asked, begun, check_references_together, ours, theirs
from pictures import photograph
from safetensors.torch import load_file
from tiny_ip_adapters import flux_weights, save_adapter, save_image_encoder, save_siglip, sd3_weights
from tiny_pipelines import weights
from transformers import CLIPVisionModelWithProjection, SiglipImageProcessorPil, SiglipVisionModel

from sd_api.errors import OutOfLimits
from sd_api.generation.images import ImageRef
from sd_api.generation.references import Reference
from sd_api.models.adapters.ip_adapter_files import described_adapters
from sd_api.models.components import Parts
from sd_api.models.folders import ModelFolders
from sd_api.models.placement import Placement
from sd_api.models.schedulers import make_scheduler

FLUX, SD3 = "flux", "stable diffusion 3"
IMAGES = [photograph(64, 48, seed=3), photograph(40, 70, seed=4)]


def transformer(name: str) -> Any:
    return weights(name).transformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top: Path = tmp_path_factory.mktemp("models")
    made = {"one": flux_weights(transformer(FLUX), 1), "two": flux_weights(transformer(FLUX), 2)}
    made["sd3"] = sd3_weights(transformer(SD3), 3)
    made["short"] = {name: tensor for name, tensor in made["sd3"].items() if "norm_ip_k" not in name}
    made["unnormed"] = {name: tensor for name, tensor in made["one"].items() if "model.norm" not in name}
    narrow = {"attention_head_dim": 4}
    made["narrow"] = sd3_weights(type(transformer(SD3)).from_config({**transformer(SD3).config, **narrow}), 3)
    for name, tensors in made.items():
        save_adapter(top / "ip-adapter" / f"{name}.safetensors", tensors)
    save_image_encoder(top / "clip_vision" / "clip")
    save_siglip(top / "clip_vision" / "siglip")
    return top


@cache
def model(name: str, folder: Path) -> Parts:
    pipeline = weights(name)
    pipeline.set_progress_bar_config(disable=True)
    return Parts(pipeline, torch.device("cpu"), lambda _: None, folders=ModelFolders(trees=[folder]))


def seen(adapter: str | None, *images: int, **about: Any) -> tuple[Reference, ...]:
    pictures = (ImageRef.of(IMAGES[number], "image") for number in images or (0,))
    return tuple(Reference(image=picture, adapter=adapter, **about) for picture in pictures)


def by_hand(
    name: str, folder: Path, class_name: str, files: list[str], images: Any, scales: list[float], **arguments: Any
) -> torch.Tensor:
    """The latents of a pipeline of its own, with adapters as diffusers loads them."""
    made = getattr(diffusers, class_name).from_pipe(deepcopy(weights(name)))
    made.scheduler = make_scheduler(None, made.scheduler)
    made.set_progress_bar_config(disable=True)
    adapters = folder / "ip-adapter"
    if name == SD3:
        made.register_modules(
            image_encoder=SiglipVisionModel.from_pretrained(folder / "clip_vision" / "siglip").eval(),
            feature_extractor=SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        )
        made.load_ip_adapter(str(adapters), weight_name=f"{files[0]}.safetensors")
        made.set_ip_adapter_scale(scales[0])
        arguments["negative_prompt"] = "blue"
    else:
        made.register_modules(
            image_encoder=CLIPVisionModelWithProjection.from_pretrained(folder / "clip_vision" / "clip").eval()
        )
        made.load_ip_adapter(str(adapters), weight_name=[f"{file}.safetensors" for file in files])
        made.set_ip_adapter_scale(scales)
    for weight in made.transformer.parameters():
        # From places in memory like ours, they round alike; in the file they begin anywhere.
        weight.data = weight.data.clone()
    return theirs(made, guidance_scale=5.0, ip_adapter_image=images, **arguments)


@pytest.mark.parametrize(
    ("name", "class_name", "kind", "arguments"),
    [
        (FLUX, "FluxPipeline", "txt2img", {}),
        (FLUX, "FluxImg2ImgPipeline", "img2img", {"image": IMAGE, "strength": 0.75}),
        (FLUX, "FluxInpaintPipeline", "masking", {"image": IMAGE, "mask_image": MASK, "strength": 0.75}),
        (SD3, "StableDiffusion3Pipeline", "txt2img", {}),
        (SD3, "StableDiffusion3Img2ImgPipeline", "img2img", {"image": IMAGE, "strength": 0.75}),
    ],
)
def test_an_adapter_acts_as_in_diffusers(
    folder: Path, name: str, class_name: str, kind: str, arguments: dict[str, Any]
) -> None:
    parts, file = model(name, folder), "one" if name == FLUX else "sd3"
    plain = ours(parts, asked(kind))
    expected = by_hand(name, folder, class_name, [file], IMAGES[0], [0.75], **arguments)
    found = ours(parts, asked(kind, references=seen(file, weight=0.75)))
    assert torch.equal(found, expected), (found - expected).abs().max()
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
    assert torch.equal(ours(parts, asked(kind)), plain)


def test_several_act_with_a_negative_prompt(folder: Path) -> None:
    """Those of FLUX.1; what they see of no image goes beside the negative prompt."""
    references = (*seen("one", 0, 1, weight=0.5), *seen("two", 1))
    expected = by_hand(
        FLUX,
        folder,
        "FluxPipeline",
        ["one", "two"],
        [IMAGES, IMAGES[1]],
        [0.5, 1.0],
        negative_prompt="blue",
        true_cfg_scale=2.5,
    )
    assert torch.equal(ours(model(FLUX, folder), asked("txt2img", references=references, true_guidance=2.5)), expected)


@pytest.mark.parametrize(("name", "file"), [(FLUX, "one"), (SD3, "sd3")])
def test_an_adapter_acts_between_its_start_and_its_end(folder: Path, name: str, file: str) -> None:
    def set_scale(pipeline: Any, done: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipeline.set_ip_adapter_scale(1.0 if done + 1 in (1, 2) else 0.0)
        return tensors

    # Stable Diffusion 3's pipeline sees no image where the scale is 0 at first, so it is next to that.
    scales = [0.0 if name == FLUX else 1e-30]
    class_name = type(weights(name)).__name__
    expected = by_hand(name, folder, class_name, [file], IMAGES[0], scales, callback_on_step_end=set_scale)
    operation = asked("txt2img", references=seen(file, start=0.25, end=0.75))
    assert torch.equal(ours(model(name, folder), operation), expected)


@pytest.mark.parametrize(("name", "file"), [(FLUX, "one"), (SD3, "sd3")])
def test_rows_with_the_same_adapter_share_forwards(folder: Path, name: str, file: str) -> None:
    parts = model(name, folder)
    several = [(), seen(file), seen(None, 1, end=0.5), seen(file, weight=0.5)]
    kinds = [asked("txt2img", references=references) for references in several]
    check_references_together(parts, kinds)


@pytest.mark.parametrize(("name", "file"), [(FLUX, "one"), (SD3, "sd3")])
def test_they_act_where_layers_are_streamed_to_the_device(folder: Path, name: str, file: str) -> None:
    """A processor is in the place of a card whose memory counts."""
    device = Placement(torch.device("cpu"), lambda: 2**40)
    parts = Parts(deepcopy(weights(name)), device.device, device.use, device.forget, ModelFolders(trees=[folder]))
    kinds = [asked("txt2img", references=references, steps=1) for references in ((), seen(file))]
    whole = [ours(parts, kind) for kind in kinds]
    device.use([parts.denoiser])
    assert device.slow_down()
    assert [torch.equal(ours(parts, kind), before) for kind, before in zip(kinds, whole, strict=True)] == [True, True]
    assert not any(device.has(part) for adapter in parts.ip_adapters._cache._loaded.values() for part in adapter.parts)
    parts._cached.clear()
    assert torch.equal(ours(parts, kinds[1]), whole[1]), "the image is seen again"
    device.run_as_planned()
    assert [torch.equal(ours(parts, kind), before) for kind, before in zip(kinds, whole, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        (FLUX, "sd3", "was made for Stable Diffusion 3; this model is FLUX.1"),
        (SD3, "one", "was made for FLUX.1; this model is Stable Diffusion 3"),
        (SD3, "narrow", "Stable Diffusion 3 with layers of 16; this model is Stable Diffusion 3 with layers of 32"),
        (SD3, "short", "this model cannot use: it lacks weights"),
        (FLUX, "unnormed", "this model cannot use: it lacks weights"),
    ],
)
def test_what_cannot_act_is_refused(folder: Path, name: str, file: str, words: str) -> None:
    with pytest.raises(OutOfLimits) as refusal:
        begun(model(name, folder), asked("txt2img", references=seen(file)))
    assert refusal.value.field == "references.0.adapter"
    assert words in refusal.value.problem


def test_one_for_stable_diffusion_3_sees_one_image(folder: Path) -> None:
    with pytest.raises(OutOfLimits, match="has 2 images; an IP-Adapter for Stable Diffusion 3 sees one"):
        begun(model(SD3, folder), asked("txt2img", references=seen("sd3", 0, 1)))


def test_they_are_listed_with_what_they_were_made_for(folder: Path) -> None:
    listed = {each["name"]: each["architecture"] for each in described_adapters(ModelFolders(trees=[folder]))}
    assert (listed["one"], listed["sd3"]) == ("FLUX.1", "Stable Diffusion 3")


def test_the_model_itself_is_never_changed(folder: Path) -> None:
    for name in (FLUX, SD3):
        module = transformer(name)
        ours(model(name, folder), asked("txt2img", references=seen(None)))
        assert not any(hasattr(each, "to_k_ip") for each in module.attn_processors.values())
        assert getattr(module, "image_proj", None) is None
    assert load_file(folder / "ip-adapter" / "one.safetensors").keys() == flux_weights(transformer(FLUX), 1).keys()
