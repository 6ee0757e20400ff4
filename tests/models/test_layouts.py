"""Models as people have them: each loads as itself or is refused as what it is, and the check says the same."""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from original_layout import to_original_layout
from outcomes import outcome
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_families import filled, parts_of, remade, sd, sdxl
from tiny_model import tiny_model
from tiny_pipelines import weights, write_pipeline

from sd_api.errors import ModelUnavailable
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import Edit
from sd_api.generation.spec import PictureSeeds
from sd_api.models.device import choose_device
from sd_api.models.families.registry import family_of
from sd_api.models.loader import base_folder, load_pipeline
from sd_api.models.memory_values import MemoryPlan
from sd_api.models.planned import plan_for
from sd_api.models.sources import parse_source
from sd_api.settings import Limits, ModelSettings, Settings

UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of each kind, to be copied and changed."""
    path = tmp_path_factory.mktemp("collection")
    for channels in (4, 8, 9):
        sd(channels).save_pretrained(path / f"sd{channels}")
    sdxl().save_pretrained(path / "sdxl")
    other = sd()
    other.unet = filled(remade(other.unet, in_channels=5))
    other.save_pretrained(path / "sd5")
    for name in ("flux", "z-image", "latent consistency", "sana sprint", "qwen-image-edit"):
        write_pipeline(name, path / name)
    save_file(to_original_layout(sd()), path / "sd.safetensors")
    return path


def planned(path: Path, **settings: Any) -> tuple[MemoryPlan, Any]:
    """How a model runs in half precision, and the model as it is loaded then."""
    own, device = ModelSettings.model_validate(settings), choose_device("cpu", "bf16")
    source: Any = parse_source(path)
    base = base_folder(own, None, Limits(), half=True)
    plan = plan_for(source, own, Settings(), device, base)
    return plan, load_pipeline(source, device, None, Limits(), own, plan)


def replaced(path: Path, content: bytes) -> None:
    # The copies of the collection share their files.
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edited(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        content = json.loads((model / name).read_text(encoding="utf-8"))
        kept = {key: value for key, value in (content | changes).items() if value is not ...}
        replaced(model / name, json.dumps(kept).encode())

    return edit


def labelled(name: str) -> Callable[[Path], None]:
    return edited("model_index.json", _class_name=name)


def renamed(name: str, new: str) -> Callable[[Path], None]:
    def rename(model: Path) -> None:
        (model / name).rename(model / Path(name).parent / new)

    return rename


def pickled(name: str, new: str) -> Callable[[Path], None]:
    def pickle(model: Path) -> None:
        torch.save(load_file(model / name), (model / name).parent / new)
        (model / name).unlink()

    return pickle


def rewritten(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(model: Path) -> None:
        tensors = load_file(model / name)
        change(tensors)
        (model / name).unlink()
        save_file(tensors, model / name)

    return rewrite


def without(part: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.pop(next(name for name in tensors if part in name))


def marked(name: str) -> Callable[[Path], None]:
    """With a byte order mark, as some editors write it."""
    return lambda model: replaced(model / name, b"\xef\xbb\xbf" + (model / name).read_bytes())


def scheduled(class_name: str) -> Callable[[Path], None]:
    return edited("model_index.json", scheduler=["diffusers", class_name])


RIGHT: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a variant of the autoencoder alone": (
        "sd4",
        renamed(VAE, "diffusion_pytorch_model.fp16.safetensors"),
    ),
    "a variant of the text encoder alone": ("sd4", renamed(TEXT, "model.fp16.safetensors")),
    "bfloat16 as a variant": ("sd4", renamed(VAE, "diffusion_pytorch_model.bf16.safetensors")),
    "another variant alone": ("sd4", renamed(UNET, "diffusion_pytorch_model.ema.safetensors")),
    "pickled half precision": ("sd4", pickled(UNET, "diffusion_pytorch_model.fp16.bin")),
    "a tokenizer without a bound": ("sd4", edited("tokenizer/tokenizer_config.json", model_max_length=...)),
    "a tokenizer with a wide bound": ("sdxl", edited("tokenizer_2/tokenizer_config.json", model_max_length=999)),
    "another scheduler": ("sd4", scheduled("DDPMScheduler")),
    "a scheduler for few steps": ("sd4", scheduled("LCMScheduler")),
    "labelled for images": ("sdxl", labelled("StableDiffusionXLImg2ImgPipeline")),
    "a text model for inpainting": ("sd4", labelled("StableDiffusionInpaintPipeline")),
    "an inpainting model for text": ("sd9", labelled("StableDiffusionPipeline")),
}

REFUSED: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a missing weight": (
        "sd4",
        rewritten(UNET, without("conv_in.weight")),
        "it claims weights that the files do not have: 1, such as conv_in.weight",
    ),
    "a missing weight of words": (
        "sd4",
        rewritten(TEXT, without("final_layer_norm.weight")),
        "it claims weights that the files do not have: 1, such as final_layer_norm.weight",
    ),
    "a weight of another shape": (
        "sd4",
        rewritten(VAE, lambda w: w.update({next(iter(w)): torch.ones(3)})),
        "its weights have 3",
    ),
    "no text encoder": ("sdxl", edited("model_index.json", text_encoder=[None, None]), "has no text_encoder, which"),
    "no second text encoder": ("sdxl", edited("model_index.json", text_encoder_2=[None, None]), "no text_encoder_2"),
    "one of two tokenizers": ("sdxl", edited("model_index.json", tokenizer=[None, None]), "has no tokenizer, which"),
    "SDXL as SD": ("sdxl", labelled("StableDiffusionPipeline"), "its UNet is of Stable Diffusion XL"),
    "SD as SDXL": ("sd4", labelled("StableDiffusionXLPipeline"), "has no text_encoder_2"),
    "depth": ("sd5", lambda _: None, "UNet takes 5 channels, and this server runs those that take 4, 8, 9"),
    "flow": ("sd4", scheduled("FlowMatchEulerDiscreteScheduler"), "FlowMatchEulerDiscreteScheduler, which cannot make"),
    "Karras VE": ("sd4", scheduled("KarrasVeScheduler"), "KarrasVeScheduler, which cannot make the steps"),
    "an unknown prediction": ("sd4", edited("scheduler/scheduler_config.json", prediction_type="x"), "type given as x"),
    "betas that are words": ("sd4", edited("scheduler/scheduler_config.json", beta_start="x"), "cannot be loaded"),
    "a marked index": ("sd4", marked("model_index.json"), "model_index.json: not valid JSON: line 1, column 1"),
    "a marked list of tokens": ("sd4", marked("tokenizer/tokenizer_config.json"), "tokenizer_config.json: not valid"),
    "diffusion in place of a flow": (
        "flux",
        scheduled("EulerDiscreteScheduler"),
        "has the scheduler EulerDiscreteScheduler, which is for diffusion; those of a FluxPipeline are for flows",
    ),
    "diffusion in place of consistency": (
        "latent consistency",
        scheduled("EulerDiscreteScheduler"),
        "those of a LatentConsistencyModelPipeline are for latent consistency",
    ),
    "a flow in place of angles": (
        "sana sprint",
        scheduled("FlowMatchEulerDiscreteScheduler"),
        "those of a SanaSprintPipeline are for consistency with angles as times",
    ),
    "a processor of images that is damaged": (
        "qwen-image-edit",
        edited("processor/preprocessor_config.json", image_mean=""),
        "has a processor that fits no text encoder: ValueError: mean must have 3 elements",
    ),
    "a processor without padding": (
        "qwen-image-edit",
        lambda model: (model / "processor" / "tokenizer_config.json").unlink(),
        "has a processor that fits no text encoder: ValueError: Asking to pad",
    ),
    "no padding": (
        "flux",
        edited("tokenizer_2/tokenizer_config.json", pad_token=...),
        "has a tokenizer_2 that fits no text encoder: ValueError: Asking to pad",
    ),
    "a bound that is a list": (
        "flux",
        edited("tokenizer_2/tokenizer_config.json", model_max_length=[7]),
        "has a tokenizer_2 that fits no text encoder: its model_max_length is [7]",
    ),
    "no template of a chat": (
        "z-image",
        lambda model: (model / "tokenizer" / "chat_template.jinja").unlink(),
        "has a tokenizer that fits no text encoder: ValueError: Cannot use chat template",
    ),
    "an unknown quantisation": (
        "flux",
        edited("transformer/config.json", quantization_config={"quant_method": "x"}),
        "x",
    ),
}


@pytest.fixture
def copied(collection: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: shutil.copytree(collection / name, tmp_path / name, copy_function=os.link)


@pytest.mark.parametrize(
    ("case", "half"), [*((case, False) for case in RIGHT), *((case, True) for case in RIGHT if "variant" in case)]
)
def test_it_loads(case: str, half: bool, copied: Callable[[str], Path]) -> None:
    name, change = RIGHT[case]
    change(model := copied(name))
    refusal, pipeline = outcome(model, half=half)
    assert refusal is None
    assert pipeline.unet.dtype == (torch.bfloat16 if half else torch.float32)
    assert pipeline.tokenizer.model_max_length == 77


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_as_what_it_is(case: str, copied: Callable[[str], Path]) -> None:
    name, change, reason = REFUSED[case]
    change(model := copied(name))
    refusal, _ = outcome(model)
    assert refusal is not None
    assert reason in refusal
    assert str(model) in refusal


def refiner(model: Path) -> Path:
    """SDXL's refiner as it is published, without the mark in its index."""
    pipeline = sdxl()
    width = pipeline.text_encoder_2.config.hidden_size
    unet = remade(pipeline.unet, cross_attention_dim=width, projection_class_embeddings_input_dim=width + 5 * 8)
    pipeline.unet = filled(unet)
    pipeline.save_pretrained(model)
    none = [None, None]
    edited("model_index.json", text_encoder=none, tokenizer=none, _class_name="StableDiffusionXLImg2ImgPipeline")(model)
    return model


def test_a_refiner_is_called_one(tmp_path: Path) -> None:
    refusal, _ = outcome(refiner(tmp_path / "refiner"))
    assert refusal is not None
    assert "is a refiner" in refusal


def test_an_editing_unet_edits_whatever_its_label_says(collection: Path, copied: Callable[[str], Path]) -> None:
    labelled("StableDiffusionPipeline")(model := copied("sd8"))
    refusal, pipeline = outcome(model)
    assert refusal is None
    family, parts = family_of(pipeline), parts_of(pipeline)
    assert family.abilities(parts).modes == ("edit",)
    picture = Image.new("RGB", (64, 64), (200, 30, 90))
    content = io.BytesIO()
    picture.save(content, "PNG")
    image = ImageRef(content=content.getvalue(), kind="image", field="image", max_pixels=10**6)
    operation = Edit(prompt="a", steps=2, guidance=7.5, image_guidance=1.5, image=image, limits=Limits())
    with torch.inference_mode():
        row = family.start(parts, operation, PictureSeeds(seed=3), (64, 64), family.encode(parts, operation))
        while not row.done:
            family.advance(row, family.predict(parts, [row])[0])
        (made,) = family.decode(parts, [row], [])
    by_hand = sd(8)
    by_hand.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    expected = by_hand("a", image=picture, num_inference_steps=2, image_guidance_scale=1.5, generator=generator).images
    np.testing.assert_array_equal(np.asarray(made), np.asarray(expected[0]))


def test_a_checker_without_its_feature_extractor_gets_one(tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model(), tmp_path / "model", copy_function=os.link)
    edited("model_index.json", feature_extractor=[None, None])(model)
    refusal, pipeline = outcome(model)
    assert refusal is None
    assert pipeline.feature_extractor.crop_size["height"] == pipeline.safety_checker.config.vision_config.image_size


# Single files, and files of the largest part with the rest from a base.


def same_weights(part: Any, expected: Any, dtype: torch.dtype = torch.float32) -> bool:
    found = part.state_dict()
    return found.keys() == expected.state_dict().keys() and all(
        torch.equal(found[name].float(), tensor.to(dtype).float()) for name, tensor in expected.state_dict().items()
    )


@pytest.mark.parametrize("layout", ["whole", "unet", "bare unet", "unet of diffusers"])
def test_a_base_has_what_a_file_lacks(layout: str, collection: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "model.safetensors", load_file(collection / "sd.safetensors")
    prefix = "model.diffusion_model."
    unet = {name: tensor for name, tensor in whole.items() if name.startswith(prefix)}
    if layout == "unet of diffusers":
        save_file(load_file(collection / "sd4" / UNET), path)
    else:
        bare = {name.removeprefix(prefix): tensor for name, tensor in unet.items()}
        save_file({"whole": whole, "unet": unet, "bare unet": bare}[layout], path)
    refusal, pipeline = outcome(path, base=str(tiny_model()))
    assert refusal is None
    assert same_weights(pipeline.unet, sd().unet)
    expected = sd().vae.state_dict() if layout == "whole" else load_file(tiny_model() / VAE)
    assert all(torch.equal(tensor, expected[name].float()) for name, tensor in pipeline.vae.state_dict().items())
    assert pipeline.safety_checker is None


def test_without_a_base_it_says_what_is_missing_and_which_base_to_name(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "unet.safetensors"
    whole = load_file(collection / "sd.safetensors")
    save_file({name: tensor for name, tensor in whole.items() if name.startswith("model.")}, path)
    refusal, _ = outcome(path)
    assert refusal is not None
    assert "lacks the text encoder and the VAE" in refusal
    assert '"base" in the configuration, such as "stable-diffusion-v1-5/stable-diffusion-v1-5"' in refusal


def test_a_file_that_says_so_predicts_velocities(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(load_file(collection / "sd.safetensors") | {key: torch.zeros(()) for key in ("v_pred", "ztsnr")}, path)
    refusal, pipeline = outcome(path, base=str(collection / "sd4"))
    assert refusal is None
    config = pipeline.scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)
    assert config.timestep_spacing == "trailing"
    # The configuration is stronger.
    _, pipeline = outcome(path, base=str(collection / "sd4"), prediction_type="epsilon")
    config = pipeline.scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("epsilon", False)


def flux_file(path: Path, dtype: torch.dtype | None = None) -> Path:
    tensors = weights("flux").transformer.state_dict()
    save_file({name: tensor.to(dtype) if dtype else tensor for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize("name", ["flux.gguf", "flux.safetensors"])
def test_gguf_runs_as_it_is(name: str, collection: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    writer = gguf.GGUFWriter(path, "flux")
    kind = gguf.GGMLQuantizationType.Q8_0
    exact = weights("flux").transformer.state_dict()
    for key, tensor in exact.items():
        array = tensor.numpy()
        if array.ndim == 2 and array.shape[1] % 32 == 0:
            writer.add_tensor(key, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refusal, pipeline = outcome(path, base=str(collection / "flux"))
    assert refusal is None
    assert pipeline.transformer.dtype == torch.float32
    key = "time_text_embed.timestep_embedder.linear_1"
    layer = pipeline.transformer.get_submodule(key)
    inputs = torch.ones(1, layer.in_features)
    expected = gguf.quants.dequantize(gguf.quants.quantize(exact[f"{key}.weight"].numpy(), kind), kind)
    assert torch.allclose(layer(inputs), inputs @ torch.from_numpy(expected).T + exact[f"{key}.bias"], atol=2e-3)
    with pytest.raises(ModelUnavailable, match=r"this model is quantised already \(Q8_0\), and is loaded as it is"):
        planned(path, base=str(collection / "flux"), quantize="fp8")
    plan, pipeline = planned(path, base=str(collection / "flux"))
    assert plan.quantization == "none"
    sizes = {name: sum(tensor.nbytes for tensor in pipeline.components[name].parameters()) for name in plan.weights}
    assert plan.weights == pytest.approx(sizes, rel=0.1)


def test_fp8_stays_fp8_and_computes_in_half_precision(collection: Path, tmp_path: Path) -> None:
    path = flux_file(tmp_path / "flux.safetensors", torch.float8_e4m3fn)
    plan, stored = planned(path, base=str(collection / "flux"))
    assert (plan.quantization, plan.quantized) == ("fp8", ("transformer",))
    _, full = planned(path, base=str(collection / "flux"), quantize="none")
    layers = {parameter.dtype for parameter in stored.transformer.parameters()}
    assert layers == {torch.float8_e4m3fn, torch.bfloat16}
    assert stored.transformer.dtype == full.transformer.dtype == torch.bfloat16
    drawn = [
        pipeline("a", width=64, height=64, num_inference_steps=1, generator=torch.Generator().manual_seed(1)).images[0]
        for pipeline in (stored, full)
    ]
    np.testing.assert_array_equal(np.asarray(drawn[0]), np.asarray(drawn[1]))


def test_what_a_quantised_folder_needs_is_named(copied: Callable[[str], Path], monkeypatch: Any) -> None:
    monkeypatch.setattr("sd_api.models.extras.find_spec", lambda _: None)
    edited("transformer/config.json", quantization_config={"quant_method": "bitsandbytes"})(model := copied("flux"))
    refusal, _ = outcome(model)
    assert refusal is not None
    assert "need the package bitsandbytes, which is not installed: pip install '.[quantize]'" in refusal


# Parts in place of the model's own.


@pytest.fixture
def other_vae(collection: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(tiny_model() / VAE).items()}


@pytest.mark.parametrize("form", ["folder", "model", "file of diffusers", "original file"])
def test_another_autoencoder_takes_its_place(form: str, collection: Path, tmp_path: Path, other_vae: Any) -> None:
    path = tmp_path / "vae.safetensors"
    save_file(other_vae, path)
    if form == "original file":
        pipeline = sd()
        pipeline.vae.load_state_dict(other_vae)
        plain = to_original_layout(pipeline)
        prefix = "first_stage_model."
        save_file({key.removeprefix(prefix): plain[key] for key in plain if key.startswith(prefix)}, path)
    name = {"folder": tiny_model() / "vae", "model": tiny_model()}.get(form, path)
    refusal, pipeline = outcome(collection / "sd4", vae=str(name))
    assert refusal is None
    assert all(torch.equal(tensor, other_vae[key]) for key, tensor in pipeline.vae.state_dict().items())


def test_another_text_encoder_takes_the_place_that_its_shape_says(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "t5.safetensors"
    tensors = {name: tensor + 1 for name, tensor in weights("flux").text_encoder_2.state_dict().items()}
    save_file({name: tensor.clone() for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}, path)
    refusal, pipeline = outcome(collection / "flux", text_encoders=[str(path)])
    assert refusal is None
    assert torch.equal(pipeline.text_encoder_2.state_dict()["shared.weight"], tensors["shared.weight"])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"vae": "{collection}/sd4/unet/diffusion_pytorch_model.safetensors"}, "holds no autoencoder for this model"),
        ({"vae": "{collection}/nothing.safetensors"}, "does not exist"),
        ({"vae": "{collection}/sd4/unet"}, "is of diffusers.UNet2DConditionModel, which is no autoencoder"),
        ({"vae": "{collection}/flux"}, "its latents have 1 channels and cells of 8 pixels; this model's 4 and 8"),
        ({"vae": "{collection}/sdxl"}, "its latents are scaled by 0.13025, this model's by 0.18215"),
        ({"text_encoders": ["{collection}/sd4/" + VAE]}, "fits none of this model's text encoders (text_encoder)"),
        ({"base": "{collection}/flux"}, "only a file of weights has a base"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings: dict[str, Any], reason: str, collection: Path) -> None:
    text = json.loads(json.dumps(settings).replace("{collection}", str(collection)))
    refusal, _ = outcome(collection / "sd4", **text)
    assert refusal is not None
    assert reason in refusal


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
