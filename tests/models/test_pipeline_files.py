"""Which files of a repository are downloaded."""

import pytest

from sd_api.models.pipeline_files import needed_files, why_unfit

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "requires_safety_checker": True,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
CONFIGS = [
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
]
# What else a repository of Stable Diffusion 1.5 has.
OTHERS = [
    ".gitattributes",
    "README.md",
    "image_encoder/config.json",
    "model_index.json",
    "unet/diffusion_flax_model.msgpack",
    "unet/diffusion_pytorch_model.non_ema.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/model.onnx",
    "unet/notes.json",
    "unet_v2/diffusion_pytorch_model.safetensors",
    "v1-5-pruned-emaonly.safetensors",
    "v1-inference.yaml",
]
WHOLE = "unet/diffusion_pytorch_model.safetensors"
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"
PICKLED = "unet/diffusion_pytorch_model.bin"
SHARDS = [
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
]
HALF_SHARDS = [
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
]
OLD_HALF_SHARDS = ["unet/model-00001-of-00001.fp16.safetensors"]


@pytest.mark.parametrize(
    ("weights", "wanted", "wanted_in_half"),
    [
        ([WHOLE, HALF, PICKLED], [WHOLE], [HALF]),
        ([WHOLE, PICKLED], [WHOLE], [WHOLE]),
        ([HALF, PICKLED, "unet/diffusion_pytorch_model.fp16.bin"], [HALF], [HALF]),
        ([PICKLED, "unet/diffusion_pytorch_model.fp16.bin"], [PICKLED], [PICKLED]),
        ([*SHARDS, *HALF_SHARDS], SHARDS, HALF_SHARDS),
        (HALF_SHARDS, HALF_SHARDS, HALF_SHARDS),
        (OLD_HALF_SHARDS, OLD_HALF_SHARDS, OLD_HALF_SHARDS),
        (["unet/pytorch_model.bin"], ["unet/pytorch_model.bin"], ["unet/pytorch_model.bin"]),
    ],
)
def test_each_part_comes_with_one_kind_of_weights(
    weights: list[str], wanted: list[str], wanted_in_half: list[str]
) -> None:
    names = sorted([*CONFIGS, *OTHERS, *weights])
    assert sorted(needed_files(INDEX, names, half=False)) == sorted([*CONFIGS, *wanted])
    assert sorted(needed_files(INDEX, names, half=True)) == sorted([*CONFIGS, *wanted_in_half])


def test_pipelines_that_make_pictures_are_accepted() -> None:
    for name in (
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionImg2ImgPipeline",
    ):
        assert why_unfit(INDEX | {"_class_name": name}, CONFIGS) is None


@pytest.mark.parametrize(
    "name",
    [
        "FluxPipeline",
        "PixArtAlphaPipeline",
        "StableVideoDiffusionPipeline",
        "AudioLDM2Pipeline",
        "PipelineOfTomorrow",
        None,
    ],
)
def test_pipelines_for_something_else_are_refused(name: str | None) -> None:
    reason = why_unfit(INDEX | {"_class_name": name}, CONFIGS)
    assert str(reason).startswith(f"is a model for {name}, which this server does not run")


@pytest.mark.parametrize(
    ("index", "module"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "pipeline.py"),
        ({"_class_name": ["of_the_community", "Mine"]}, "README.md"),
        ({"unet": ["mine", "Mine"]}, "unet/mine.py"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "unet/diffusers.py"),
    ],
)
def test_models_with_code_of_their_own_are_refused(index: dict[str, object], module: str) -> None:
    assert str(why_unfit(INDEX | index, [*CONFIGS, module])).startswith("needs Python code of its own")
