"""IP-Adapters act as in diffusers' own pipelines, for the rows that ask for them, and leave no trace."""

import random
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from controlled import SEED, SIDE, STEPS, begun, check_references_together, ours
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInpaintPipeline,
)
from pictures import half_mask, photograph, png
from running import FullAt, fresh_runs
from tiny_controls import control_net
from tiny_families import sd, sdxl
from tiny_ip_adapters import adapter_weights, save_adapter, save_image_encoder
from tiny_loras import save_lora

from sd_api.errors import OutOfLimits, ServerError
from sd_api.generation.controls import Control
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, ImageToImage, Inpaint, TextToImage
from sd_api.generation.references import Reference
from sd_api.models.adapters.image_encoder_files import encoder_of
from sd_api.models.adapters.image_encoders import load_encoder
from sd_api.models.adapters.ip_adapter_files import described_adapters, header_of
from sd_api.models.components import Parts
from sd_api.models.folders import ModelFolders
from sd_api.models.placement import Placement
from sd_api.models.schedulers import make_scheduler
from sd_api.settings import Limits

LIMITS = Limits()
GUIDANCE = 5.0
STYLE = '{"style": 0.5}'
IMAGES = [photograph(64, 48, seed=3), photograph(40, 70, seed=4)]
CLASSES: dict[str, Any] = {
    "img2img": StableDiffusionImg2ImgPipeline,
    "masking": StableDiffusionInpaintPipeline,
    "edit": StableDiffusionInstructPix2PixPipeline,
}


@cache
def pipelines() -> dict[str, Any]:
    made = {"sd": sd(), "sdxl": sdxl(), "instruct-pix2pix": sd(8)}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the published repository is: adapters of each architecture, and beside them the image encoder."""
    top: Path = tmp_path_factory.mktemp("models")
    adapters = top / "ip-adapter"
    save_image_encoder(adapters / "models" / "image_encoder")
    for name in ("sd.bin", "sd-plus.safetensors", "sdxl.safetensors", "sdxl-plus.safetensors"):
        base, plus = Path(name).stem.removesuffix("-plus"), "plus" in name
        save_adapter(adapters / "models" / name, adapter_weights(pipelines()[base].unet, len(name), plus=plus))
    control_net(pipelines()["sd"].unet).save_pretrained(top / "controlnet" / "lines")
    save_lora(top / "loras" / "style.safetensors", deepcopy(pipelines()["sd"]), 6, ("unet",))
    broken = adapters / "models" / "broken.safetensors"
    broken.write_bytes((adapters / "models" / "sd-plus.safetensors").read_bytes()[:-9])
    lacking = {**adapter_weights(pipelines()["sd"].unet, 7)}
    lacking.pop("ip_adapter.3.to_k_ip.weight")
    save_adapter(adapters / "models" / "lacking.safetensors", lacking)
    far = {**adapter_weights(pipelines()["sd"].unet, 7), "image_proj.proj.weight": torch.zeros(4 * 32, 99)}
    save_adapter(adapters / "models" / "far.safetensors", far)
    save_adapter(adapters / "models" / "other.safetensors", {"some.weight": torch.zeros(2)})
    return top


@cache
def model(name: str, folder: Path) -> Parts:
    return Parts(pipelines()[name], torch.device("cpu"), lambda _: None, folders=ModelFolders(trees=[folder]))


def ref(image: Any, kind: Any = "image") -> ImageRef:
    return ImageRef(png(image), kind, kind, max_pixels=10**6)


def seen(adapter: str | None, *images: int, **about: Any) -> tuple[Reference, ...]:
    return tuple(Reference(image=ref(IMAGES[number]), adapter=adapter, **about) for number in images or (0,))


def asked(references: tuple[Reference, ...] = (), mode: str = "txt2img", **changes: Any) -> Operation:
    fields: dict[str, Any] = {"prompt": "a dog", "negative_prompt": "blue", "steps": STEPS, "guidance": GUIDANCE}
    fields |= {"scheduler": "euler", "references": references, "limits": LIMITS, **changes}
    if mode == "txt2img":
        return TextToImage(width=SIDE, height=SIDE, **fields)
    fields["image"] = ref(photograph(SIDE, SIDE))
    if mode == "edit":
        return Edit(image_guidance=1.2, **fields)
    if mode == "img2img":
        return ImageToImage(strength=0.75, **fields)
    return Inpaint(mask=ref(half_mask(SIDE, SIDE), "mask"), strength=0.75, **fields)


def by_hand(name: str, folder: Path, operation: Operation, files: list[str], images: Any, **about: Any) -> torch.Tensor:
    """The latents of a pipeline of its own, with adapters as diffusers loads them."""
    pipeline = deepcopy(pipelines()[name])
    if operation.name in CLASSES and name == "sd":
        pipeline = CLASSES[operation.name].from_pipe(pipeline, safety_checker=None, requires_safety_checker=False)
    elif operation.name == "masking":
        pipeline = StableDiffusionXLInpaintPipeline.from_pipe(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler("euler", pipeline.scheduler)
    pipeline.load_ip_adapter(
        str(folder / "ip-adapter"),
        subfolder=["models"] * len(files),
        weight_name=files,
        image_encoder_folder="image_encoder",
    )
    pipeline.set_ip_adapter_scale(about.get("scales", [1.0] * len(files)))
    arguments: dict[str, Any] = {
        "prompt": "a dog",
        "negative_prompt": "blue",
        "num_inference_steps": STEPS,
        "guidance_scale": operation.guidance,
        "ip_adapter_image": images,
        "generator": torch.Generator("cpu").manual_seed(SEED),
        "output_type": "latent",
    }
    if isinstance(operation, TextToImage):
        arguments |= {"width": SIDE, "height": SIDE}
    else:
        arguments["image"] = photograph(SIDE, SIDE)
    if isinstance(operation, (ImageToImage, Inpaint)):
        arguments["strength"] = 0.75
    if isinstance(operation, Edit):
        arguments["image_guidance_scale"] = 1.2
    if isinstance(operation, Inpaint):
        arguments |= {"mask_image": half_mask(SIDE, SIDE), "width": SIDE, "height": SIDE}
    latents: torch.Tensor = pipeline(**arguments, **about.get("more", {})).images
    return latents


@pytest.mark.parametrize(
    ("name", "mode", "adapter", "guidance"),
    [
        ("sd", "txt2img", "sd.bin", GUIDANCE),
        ("sd", "txt2img", "sd-plus.safetensors", GUIDANCE),
        ("sd", "txt2img", "sd-plus.safetensors", 1.0),
        ("sd", "img2img", "sd.bin", GUIDANCE),
        ("sd", "masking", "sd-plus.safetensors", GUIDANCE),
        ("sdxl", "txt2img", "sdxl.safetensors", GUIDANCE),
        ("sdxl", "masking", "sdxl-plus.safetensors", GUIDANCE),
        ("instruct-pix2pix", "edit", "sd-plus.safetensors", GUIDANCE),
    ],
)
def test_an_adapter_acts_as_in_diffusers(folder: Path, name: str, mode: str, adapter: str, guidance: float) -> None:
    parts = model(name, folder)
    plain = asked((), mode, guidance=guidance)
    before = ours(parts, plain)
    operation = asked(seen(f"models/{Path(adapter).stem}", weight=0.75), mode, guidance=guidance)
    expected = by_hand(name, folder, operation, [adapter], [IMAGES[0]], scales=[0.75])
    assert torch.equal(ours(parts, operation), expected)
    assert (expected - before).abs().max() > 0.01 * before.abs().max()
    assert torch.equal(ours(parts, plain), before)


def test_several_images_and_adapters_act_together(folder: Path) -> None:
    parts, operation = model("sd", folder), asked((*seen("sd", 0, 1, weight=0.5), *seen("sd-plus", 1)))
    files = ["sd.bin", "sd-plus.safetensors"]
    expected = by_hand("sd", folder, operation, files, [IMAGES, IMAGES[1]], scales=[0.5, 1.0])
    assert torch.equal(ours(parts, operation), expected)


def test_an_adapter_acts_between_its_start_and_its_end(folder: Path) -> None:
    parts, operation = model("sd", folder), asked(seen("sd-plus", start=0.25, end=0.75))

    def set_scale(pipeline: Any, done: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipeline.set_ip_adapter_scale(1.0 if done + 1 in (1, 2) else 0.0)
        return tensors

    more = {"callback_on_step_end": set_scale}
    expected = by_hand("sd", folder, operation, ["sd-plus.safetensors"], [IMAGES[0]], scales=[0.0], more=more)
    assert torch.equal(ours(parts, operation), expected)


def test_loras_act_beside(folder: Path) -> None:
    parts = model("sd", folder)
    styled, both = asked(loras=STYLE), asked(seen("sd"), loras=STYLE)
    before = ours(parts, styled)
    together = ours(parts, both)
    assert not torch.equal(together, before)
    assert not torch.equal(together, ours(parts, asked(seen("sd"))))
    assert torch.equal(ours(parts, styled), before)
    assert torch.equal(ours(parts, both), together)


def test_they_act_where_layers_are_streamed_to_the_device(folder: Path) -> None:
    """A processor is in the place of a card whose memory counts; a LoRA acts beside one of them."""
    device = Placement(torch.device("cpu"), lambda: 2**40)
    folders = ModelFolders(trees=[folder])
    parts = Parts(deepcopy(pipelines()["sd"]), device.device, device.use, device.forget, folders)
    kinds = [asked(steps=1), asked((*seen("sd"), *seen("sd-plus", 1)), steps=1, loras=STYLE)]
    # In the weights themselves it rounds otherwise.
    parts.loras.merged._paused = True
    whole = [ours(parts, kind) for kind in kinds]
    device.use([parts.denoiser])
    assert device.slow_down()
    for number in (1, 0):
        assert torch.equal(ours(parts, kinds[number]), whole[number])
    assert not any(device.has(adapter.acting) for adapter in parts.ip_adapters._cache._loaded.values())
    device.run_as_planned()
    assert torch.equal(ours(parts, kinds[1]), whole[1])


def test_no_run_leaves_anything_for_the_next(folder: Path) -> None:
    """Random sequences, each run of which may break off anywhere: the others are as on a fresh server."""
    parts, choose = model("sd", folder), random.Random(3)
    plus = seen("sd-plus", 1, weight=0.5)
    about: list[dict[str, Any]] = [{}, {"references": seen("sd-plus")}, {"loras": STYLE}]
    lines = (Control(model="lines", image=ref(IMAGES[0])),)
    about += [{"references": plus, "loras": STYLE, "controls": lines}]
    kinds = [asked(steps=2, **fields) for fields in about]
    unet: Any = parts.denoiser.module
    tensors = [tensor.clone() for tensor in unet.state_dict().values()]
    modules, processors = list(unet.modules()), dict(unet.attn_processors)
    fresh, counts = fresh_runs(kinds, lambda: _forget(parts), partial(ours, parts))
    for _ in range(8):
        number, other = choose.randrange(len(kinds)), choose.randrange(len(kinds))
        _forget(parts)
        with pytest.raises((torch.OutOfMemoryError, ServerError)), FullAt(choose.randrange(1, counts[number])):
            ours(parts, kinds[number])
        assert torch.equal(ours(parts, kinds[other]), fresh[other])
    assert all(torch.equal(one, other) for one, other in zip(tensors, unet.state_dict().values(), strict=True))
    assert list(unet.modules()) == modules
    assert dict(unet.attn_processors) == processors
    assert unet.encoder_hid_proj is None


def _forget(parts: Parts) -> None:
    """Have the next run load and encode everything anew."""
    parts.ip_adapters._hosts.clear()
    parts.ip_adapters._cache.clear()
    parts.ip_adapters._encoders.clear()
    parts.controls._cache.clear()
    parts.loras._forget_all()
    parts._cached.clear()


def test_rows_with_the_same_adapter_share_forwards(folder: Path) -> None:
    parts = model("sd", folder)
    kinds = [asked(), asked(seen("sd-plus")), asked(seen("sd-plus", 1, end=0.5)), asked(seen("sd-plus", weight=0.5))]
    check_references_together(parts, kinds)


def test_an_image_is_seen_once_and_a_file_loaded_once(folder: Path) -> None:
    parts = Parts(pipelines()["sd"], torch.device("cpu"), lambda _: None, folders=ModelFolders(trees=[folder]))
    first = ours(parts, asked(seen(None)))
    (encoder,) = parts.ip_adapters._encoders.values()
    calls: list[None] = []
    hook: Any = encoder.component.module.register_forward_hook(lambda *_: calls.append(None))
    loaded = list(parts.ip_adapters._cache._loaded.values())
    assert torch.equal(ours(parts, asked(seen(None))), first)
    hook.remove()
    assert not calls
    assert list(parts.ip_adapters._cache._loaded.values()) == loaded
    assert parts.size == sum(part.size for part in (*parts.components.values(), *parts.ip_adapters.components))
    # Too little for two.
    parts.components["unet"].size = sum(part.size for part in loaded[0].parts) + 1
    ours(parts, asked(seen("sd-plus")))
    assert len(parts.ip_adapters._cache._loaded) == 1


def test_an_encoder_is_the_same_from_its_file_alone(tmp_path: Path) -> None:
    folder = save_image_encoder(tmp_path, hidden_size=1280, num_attention_heads=16, hidden_act="gelu")
    whole, alone = (load_encoder(path, "CLIP", torch.float32) for path in (folder, folder / "model.safetensors"))
    with torch.inference_mode():
        for one, other in zip(
            *(encoder.see(IMAGES, whole=False, nothing="grey") for encoder in (whole, alone)), strict=True
        ):
            assert torch.equal(one, other)


def test_adapters_are_listed_with_what_their_files_say(folder: Path) -> None:
    listed = {each["name"]: each for each in described_adapters(ModelFolders(trees=[folder]))}
    assert [name.removeprefix("models/") for name in listed] == [
        *("broken", "far", "lacking", "other", "sd", "sd-plus", "sdxl", "sdxl-plus")
    ]
    assert listed["models/sd-plus"]["problem"] is None
    assert "damaged" in listed["models/broken"]["problem"]
    assert "holds no IP-Adapter" in listed["models/other"]["problem"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "there are: models/broken, models/far"),
        ("../loras/style", "there are: models/broken"),
        ("models/image_encoder/model", "there are: models/broken"),
        ("sdxl-plus", "made for"),
        ("sdxl", "made for"),
        ("broken", "cut short or damaged"),
        ("lacking", "this model cannot use"),
        ("far", "image encoder is missing"),
        ("other", "holds no IP-Adapter"),
    ],
)
def test_what_cannot_act_is_refused(folder: Path, name: str, words: str) -> None:
    parts = model("sd", folder)
    for _ in range(2):
        with pytest.raises(OutOfLimits) as refusal:
            begun(parts, asked((*seen("sd"), *seen(name))))
        assert refusal.value.field == "references.1.adapter"
        assert words in refusal.value.problem
    alone = Parts(pipelines()["sd"], torch.device("cpu"), lambda _: None)
    with pytest.raises(OutOfLimits, match="no IP-Adapter for this model"):
        begun(alone, asked(seen(None)))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": (8, 8)}, "a format that is not read"),
        ({"ip_adapter.0.to_k_ip.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)}, "a format that is not read"),
        ({"ip_adapter.1.to_k_ip.weight": (8, 768), "image_proj.proj.0.weight": (1024, 512)}, "sees faces by another"),
    ],
)
def test_other_kinds_are_called_by_what_they_are(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        header_of(shapes)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ip_adapter.0.to_k_ip.weight", {"image_proj.proj.weight": (8, 8), "ip_adapter.0.to_k_ip.bias": (8,)}),
        ("ip_adapter.1.to_k_ip.weight", {"image_proj.proj.weight": (8, 8)}),
        ("image_proj.proj.weight", {"ip_adapter.1.to_k_ip.weight": (8, 768)}),
        ("image_proj.proj_in.weight", {"ip_adapter.1.to_k_ip.weight": (8, 768)}),
        ("image_proj.proj.weight", {"ip_adapter.0.to_k_ip.weight": (8, 8), "ip_adapter.0.to_k_ip.bias": (8,)}),
    ],
)
def test_a_weight_that_is_no_matrix_is_the_reason(name: str, other: dict[str, tuple[int, ...]]) -> None:
    for shape in ((), (8,), (8, 8, 1)):
        with pytest.raises(ValueError, match=rf"has {name} with {len(shape)} axes"):
            header_of({**other, name: shape})


def test_an_image_encoder_of_another_shape_is_none() -> None:
    names = ("position_embedding.weight", "class_embedding")
    shapes = {f"vision_model.embeddings.{name}": () for name in names}
    with pytest.raises(ValueError, match="in place of a matrix"):
        encoder_of({**shapes, "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14)})
