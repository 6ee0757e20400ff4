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
        "StableDiffusionInstructPix2PixPipeline",
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "PixArtSigmaPipeline",
        "LatentConsistencyModelPipeline",
    ):
        assert why_unfit(INDEX | {"_class_name": name}, CONFIGS) is None


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusionControlNetPipeline",
        "StableVideoDiffusionPipeline",
        "AudioLDM2Pipeline",
        "PipelineOfTomorrow",
        None,
    ],
)
def test_pipelines_for_something_else_are_refused(name: str | None) -> None:
    reason = why_unfit(INDEX | {"_class_name": name}, CONFIGS)
    assert str(reason).startswith(f"is a model for {name}, which this server does not run")


THREE_ENCODERS = {
    "_class_name": "StableDiffusion3Pipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_3": ["transformers", "T5EncoderModel"],
    "tokenizer_3": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "SD3Transformer2DModel"],
}
ENCODERS_CONFIGS = [
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_3/config.json",
    "tokenizer_3/special_tokens_map.json",
    "tokenizer_3/spiece.model",
    "tokenizer_3/tokenizer.json",
    "tokenizer_3/tokenizer_config.json",
    "transformer/config.json",
]
T5 = [f"text_encoder_3/model-0000{number}-of-00002.safetensors" for number in (1, 2)]
HALF_T5 = [f"text_encoder_3/model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def test_each_part_of_a_larger_model_has_its_own_kind_of_weights() -> None:
    """As Stable Diffusion 3 is published: text encoders in both precisions, the transformer in one."""
    clip, half_clip = "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors"
    t5 = [*T5, "text_encoder_3/model.safetensors.index.json"]
    half_t5 = [*HALF_T5, "text_encoder_3/model.safetensors.index.fp16.json"]
    names = [
        *ENCODERS_CONFIGS,
        clip,
        half_clip,
        *t5,
        *half_t5,
        TRANSFORMER,
        "sd3_medium.safetensors",
        "text_encoders/t5xxl.safetensors",
    ]
    assert sorted(needed_files(THREE_ENCODERS, names, half=False)) == sorted(
        [*ENCODERS_CONFIGS, clip, *t5, TRANSFORMER]
    )
    wanted_in_half = [*ENCODERS_CONFIGS, half_clip, *half_t5, TRANSFORMER]
    assert sorted(needed_files(THREE_ENCODERS, names, half=True)) == sorted(wanted_in_half)


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


def test_a_refiner_is_refused_with_the_model_to_take_instead() -> None:
    index = INDEX | {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True}
    reason = str(why_unfit(index, CONFIGS))
    assert reason.startswith("is a refiner")
    assert "Choose the base model instead" in reason
