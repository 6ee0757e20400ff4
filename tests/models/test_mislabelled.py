"""Files that are not what people take them for, and names that programs have changed: right, or refused."""

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from original_layout import to_original_layout
from outcomes import outcome
from safetensors.torch import load_file, save_file
from tiny_families import sd
from tiny_pipelines import weights, write_pipeline

from sd_api.models.architectures import refuse_misfit
from sd_api.models.headers import Header, TensorInfo

model = cache(sd)
Tensors = dict[str, torch.Tensor]

UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sd"
    model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline("flux", tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture(scope="module")
def whole() -> Tensors:
    return to_original_layout(model())


def changed(tensors: Tensors, change: Callable[[str], str]) -> Tensors:
    return {change(name): tensor for name, tensor in tensors.items()}


def converted(tensors: Tensors, *kinds: torch.dtype) -> Tensors:
    """The weights of the UNet in some types, in turn."""
    names = [name for name in tensors if name.startswith(UNET) and tensors[name].ndim > 1]
    return tensors | {name: tensors[name].to(kinds[number % len(kinds)]) for number, name in enumerate(names)}


RIGHT: dict[str, Callable[[Tensors], Tensors]] = {
    "a prefix twice": lambda whole: changed(whole, lambda name: name.replace(UNET, UNET * 2)),
    "the denoiser alone, as ComfyUI saves it": lambda whole: {
        name.removeprefix("model."): tensor for name, tensor in whole.items() if name.startswith(UNET)
    },
    "saved inside of another object": lambda whole: changed(whole, lambda name: f"state_dict.module.{name}"),
    "averaged weights beside the others": lambda whole: whole | {"model_ema.decay": torch.ones(())},
    "several precisions": lambda whole: converted(whole, torch.float16, torch.bfloat16, torch.float32),
    "double precision": lambda whole: converted(whole, torch.float64),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_weights_are_those_of_the_file(case: str, base: Path, whole: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    # Not those of the base, which would be taken in silence.
    other = {name: tensor + 0.25 if tensor.is_floating_point() else tensor for name, tensor in whole.items()}
    save_file({name: tensor.contiguous() for name, tensor in RIGHT[case](other).items()}, path)
    refusal, pipeline = outcome(path, base=str(base))
    assert refusal is None
    expected = model().unet.state_dict()
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.allclose(tensor, expected[name] + 0.25, atol=0.01), name


@pytest.mark.parametrize("prefix", ["", UNET, "transformer."])
def test_what_stands_before_and_beside_the_names_of_diffusers_does_not_matter(
    prefix: str, base: Path, other_base: Path, tmp_path: Path
) -> None:
    for part, folder in (("unet", base), ("transformer", other_base)):
        own = model().unet if part == "unet" else weights("flux").transformer
        expected = {name: tensor + 0.25 for name, tensor in own.state_dict().items()}
        before = prefix.replace("transformer", part)
        path = tmp_path / f"{part}.safetensors"
        save_file(
            {before + name: tensor for name, tensor in expected.items()} | {f"{before}epoch": torch.ones(1)}, path
        )
        refusal, pipeline = outcome(path, base=str(folder))
        assert refusal is None
        found = pipeline.components[part].state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_fp8_with_five_bits_of_exponent_is_read(base: Path, whole: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(converted(whole, torch.float8_e5m2), path)
    refusal, pipeline = outcome(path, base=str(base))
    assert refusal is None
    expected = model().unet.conv_in.weight.to(torch.float8_e5m2).float()
    assert torch.equal(pipeline.unet.conv_in.weight, expected)


def parts_named(whole: Tensors, prefix: str) -> Tensors:
    return {name: tensor for name, tensor in whole.items() if name.startswith(prefix)}


def zeros(**shapes: tuple[int, ...]) -> Tensors:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


# By the name of the file: its tensors, whether a base is named, and words of the reason.
REFUSED: dict[str, tuple[Callable[[Tensors], Tensors], bool, str]] = {
    "vae": (lambda _: dict(model().vae.state_dict()), False, "is an autoencoder"),
    "vae-with-base": (lambda _: dict(model().vae.state_dict()), True, "is an autoencoder"),
    "vae-original": (
        lambda whole: parts_named(whole, "first_stage_model."),
        False,
        "lacks the text encoder and the UNet",
    ),
    "vae-original-with-base": (lambda whole: parts_named(whole, "first_stage_model."), True, "holds no UNet"),
    "clip": (lambda _: dict(model().text_encoder.state_dict()), True, "is a text encoder"),
    "t5": (
        lambda _: {
            name: tensor
            for name, tensor in weights("flux").text_encoder_2.state_dict().items()
            if "embed_tokens" not in name
        },
        False,
        "is a text encoder",
    ),
    "language-model": (lambda _: zeros(**{"model.embed_tokens.weight": (32, 8)}), False, "is a text encoder"),
    "ema": (
        lambda whole: {f"model_ema.{name.replace('.', '')}": whole[name] for name in parts_named(whole, UNET)},
        False,
        "only the averaged weights of a training (EMA)",
    ),
    "training": (lambda _: zeros(**{"optimizer.state.0.exp_avg": (8,)}), False, "is the state of a training"),
    "t2i": (lambda _: zeros(**{"adapter.conv_in.weight": (8, 8, 3, 3)}), False, "is a T2I adapter"),
    "checker": (lambda _: zeros(concept_embeds=(17, 8)), False, "is a safety checker"),
    "vision": (lambda _: zeros(**{"vision_model.embeddings.class_embedding": (8,)}), False, "an encoder of images"),
    "svd": (
        lambda whole: whole | zeros(**{f"{UNET}input_blocks.1.0.time_mixer.mix_factor": (1,)}),
        False,
        "is a model of videos",
    ),
    "upscaler": (
        lambda whole: whole | zeros(**{f"{UNET}input_blocks.0.0.weight": (32, 7, 3, 3)}),
        False,
        "takes 7 channels",
    ),
    "int8": (lambda whole: converted(whole, torch.int8), True, "its weights are whole numbers (I8)"),
    "unet-00001-of-00003": (lambda _: dict(model().unet.state_dict()), True, "is one of the 3 files"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_as_what_it_is(case: str, base: Path, whole: Tensors, tmp_path: Path) -> None:
    tensors, with_base, reason = REFUSED[case]
    path = tmp_path / f"{case}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors(whole).items()}, path)
    refusal, _ = outcome(path, base=str(base) if with_base else None)
    assert refusal is not None
    assert reason in refusal
    assert str(path) in refusal


Shapes = dict[str, tuple[int, ...]]

# By the name of the file: its tensors, and what it is, whichever base is named.
OTHERS: dict[str, tuple[Shapes, str]] = {
    "wan": ({"patch_embedding.weight": (8, 16, 1, 2, 2), "head.modulation": (1, 2, 8)}, "is a model of videos"),
    "wan-comfyui": ({f"{UNET}head.modulation": (1, 2, 8)}, "is a model of videos"),
    "ltx": ({"patchify_proj.weight": (8, 8)}, "of the kind 'ltx-video'"),
    "hunyuan": (
        {"txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias": (8,)},
        "of the kind 'hunyuan-video'",
    ),
    "upscaling-unet": ({f"{UNET}input_blocks.10.0.skip_connection.bias": (8,)}, "of the kind 'upscale'"),
    "refiner": (
        {"conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": (8,)},
        "of the kind 'xl_refiner'",
    ),
    "swinir": ({"conv_first.weight": (8, 3, 3, 3)}, "is an upscaler"),
    "sounds": ({"pretransform.model.decoder.layers.0.weight_v": (8, 8, 7)}, "is a model of sounds"),
    "lora-of-differences": ({"diffusion_model.blocks.0.diff_b": (8,)}, "is a LoRA"),
    "z-image-control": ({"control_all_x_embedder.2-1.weight": (8, 8)}, "is a ControlNet"),
    "small-autoencoder": ({"decoder.layers.1.weight": (8, 8, 3, 3)}, "is an autoencoder"),
    "deep-autoencoder": ({"decoder.stages.1.op_list.0.main.conv.conv.bias": (8,)}, "is an autoencoder"),
    "qwen-vl": ({"model.language_model.embed_tokens.weight": (8, 8)}, "is a text encoder"),
    "openclip-vision": ({"visual.conv1.weight": (8, 3, 4, 4)}, "is an encoder of images"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_it_is_refused_as_what_it_is_whichever_base_is_named(
    case: str, base: Path, other_base: Path, tmp_path: Path
) -> None:
    shapes, reason = OTHERS[case]
    path = tmp_path / f"{case}.safetensors"
    save_file(zeros(**shapes), path)
    alone, with_sd, with_flux = (outcome(path, base=name)[0] for name in (None, str(base), str(other_base)))
    assert alone == with_sd == with_flux
    assert alone is not None
    assert f"{path} " in alone
    assert reason in alone


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"layers.0.adaLN_modulation.0.weight": (8, 8)}, "holds Z-Image, and its base has FluxTransformer2DModel"),
        ({f"{UNET}input_blocks.0.0.weight": (8, 4, 3, 3)}, "holds a UNet, and its base has FluxTransformer2DModel"),
        ({"stem.0.weight": (8, 3, 3, 3)}, "its tensors are called stem.0.weight and the like"),
    ],
)
def test_a_file_that_is_no_part_of_its_base_is_refused(
    shapes: Shapes, reason: str, other_base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(zeros(**shapes), path)
    refusal, _ = outcome(path, base=str(other_base))
    assert refusal is not None
    assert reason in refusal


@pytest.mark.parametrize("name", ["flux", "chroma", "qwen-image", "z-image", "sana", "pixart sigma", "lumina 2"])
def test_no_denoiser_is_taken_for_something_else(name: str) -> None:
    part = weights(name).transformer
    tensors = {key: TensorInfo(tuple(tensor.shape), "F32", tensor.nbytes) for key, tensor in part.state_dict().items()}
    if name == "pixart sigma":
        # Published ones have as many blocks.
        tensors["transformer_blocks.27.scale_shift_table"] = tensors["transformer_blocks.0.scale_shift_table"]
    header = Header(Path("model.safetensors"), "safetensors", tensors, name="model")
    refuse_misfit(header, {"transformer": type(part).__name__})


SHARD = "diffusion_pytorch_model-00001-of-00001.safetensors"


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (SHARD, None),
        ("diffusion_pytorch_model-00002-of-00002.safetensors", "this file is missing"),
        ("../vae/diffusion_pytorch_model.safetensors", "is no name of a .safetensors file in its folder"),
        (7, "is no name of a .safetensors file in its folder"),
    ],
)
def test_an_index_names_files_of_its_folder(listed: object, reason: str | None, base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "sd", copy_function=os.link)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / SHARD)
    index = {"metadata": {}, "weight_map": dict.fromkeys(model().unet.state_dict(), SHARD) | {"conv_in.weight": listed}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    refusal, _ = outcome(folder)
    assert refusal is None if reason is None else refusal and reason in refusal


def test_a_folder_of_whole_numbers_is_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "sd")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: (50 * tensor).to(torch.int8) for name, tensor in load_file(file).items()}, file)
    refusal, _ = outcome(folder)
    assert refusal is not None
    assert f"{folder / 'unet'} was quantised by another program" in refusal


def test_ends_of_lines_and_the_names_of_folders_do_not_matter(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "sd.safetensors")
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    refusal, _ = outcome(folder)
    assert refusal is None
