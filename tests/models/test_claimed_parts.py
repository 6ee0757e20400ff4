"""However a part reaches the loader, its configuration is compared with its weights before it takes memory."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from original_layout import to_original_layout
from safetensors.torch import load_file, save_file
from tiny_families import sd
from tiny_model import tiny_model
from tiny_pipelines import write_pipeline

from sd_api.errors import ModelUnavailable
from sd_api.models import architectures, hub, opened_checkpoint, separate_parts
from sd_api.models.device import choose_device
from sd_api.models.loader import check_pipeline, load_pipeline
from sd_api.models.safety import fetch_safety_filter
from sd_api.models.sources import parse_source
from sd_api.models.state_dict import WeightFile
from sd_api.models.trials import TrialError, try_scale, try_steps
from sd_api.settings import Limits, ModelSettings

DEVICE = choose_device("cpu", "fp32")
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"

Load = Callable[[], object]


def changed(config: Path, **changes: Any) -> None:
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content | changes), encoding="utf-8")


def loaded(path: Path, **settings: Any) -> Load:
    given: Any = (parse_source(path), DEVICE, None, Limits(), ModelSettings.model_validate(settings))

    def load() -> object:
        with pytest.raises(ModelUnavailable) as checked:
            check_pipeline(*given)
        with pytest.raises(ModelUnavailable, match=r".") as refused:
            load_pipeline(*given)
        assert refused.value.message == checked.value.message
        raise refused.value

    return load


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in one file, in the layout of its first release."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    save_file(to_original_layout(sd()), path)
    return path


# How parts reach the loader. Each way takes the folder of a model, whose configurations are changed.


def of_a_folder(model: Path, _whole: Path, _monkeypatch: Any) -> Load:
    return loaded(model)


def of_a_base(model: Path, whole: Path, _monkeypatch: Any) -> Load:
    unet = {name: tensor for name, tensor in load_file(whole).items() if name.startswith("model.diffusion_model.")}
    save_file(unet, model.parent / "unet.safetensors")
    return loaded(model.parent / "unet.safetensors", base=str(model))


def of_a_file_with_a_base(model: Path, whole: Path, _monkeypatch: Any) -> Load:
    return loaded(whole, base=str(model))


def of_a_file_with_a_configuration_of_the_hub(model: Path, whole: Path, monkeypatch: Any) -> Load:
    real = architectures.identify
    monkeypatch.setattr(opened_checkpoint, "identify", lambda header: replace(real(header), config=None))
    monkeypatch.setattr("sd_api.models.loader.fetch_config", lambda *_: model)
    return loaded(whole)


def as_a_folder_for_the_autoencoder(model: Path, _whole: Path, _monkeypatch: Any) -> Load:
    return loaded(tiny_model(), vae=str(model / "vae"))


def as_a_model_for_the_autoencoder(model: Path, _whole: Path, _monkeypatch: Any) -> Load:
    return loaded(tiny_model(), vae=str(model))


def from_the_hub_for_the_autoencoder(model: Path, _whole: Path, monkeypatch: Any) -> Load:
    monkeypatch.setattr(separate_parts, "fetch_part", lambda *_, **__: model / "vae")
    return loaded(tiny_model(), vae="demo/vae")


def from_a_file_for_the_autoencoder(model: Path, whole: Path, _monkeypatch: Any) -> Load:
    shutil.copyfile(model / VAE_WEIGHTS, model.parent / "vae.safetensors")
    return loaded(whole, base=str(model), vae=str(model.parent / "vae.safetensors"))


def from_a_file_for_the_text_encoder(model: Path, whole: Path, _monkeypatch: Any) -> Load:
    shutil.copyfile(model / "text_encoder" / "model.safetensors", model.parent / "text.safetensors")
    return loaded(whole, base=str(model), text_encoders=[str(model.parent / "text.safetensors")])


def as_the_filter_of_the_hub(model: Path, _whole: Path, monkeypatch: Any) -> Load:
    folder = model / "safety_checker"
    shutil.copyfile(model / "feature_extractor" / "preprocessor_config.json", folder / "preprocessor_config.json")
    monkeypatch.setattr(hub, "fetch_files", lambda *_: folder)
    return lambda: fetch_safety_filter(DEVICE, None, Limits())


TEXTS, IMAGES, NETWORK, FILTER = "text_encoder", "vae", "unet", "safety_checker"
WAYS = [
    *((of_a_folder, part) for part in (TEXTS, IMAGES, NETWORK, FILTER)),
    *((of_a_base, part) for part in (TEXTS, IMAGES, NETWORK)),
    *((of_a_file_with_a_base, part) for part in (TEXTS, IMAGES, NETWORK)),
    *((of_a_file_with_a_configuration_of_the_hub, part) for part in (TEXTS, IMAGES, NETWORK)),
    (as_a_folder_for_the_autoencoder, IMAGES),
    (as_a_model_for_the_autoencoder, IMAGES),
    (from_the_hub_for_the_autoencoder, IMAGES),
    (from_a_file_for_the_autoencoder, IMAGES),
    (from_a_file_for_the_text_encoder, TEXTS),
    (as_the_filter_of_the_hub, FILTER),
]

# Ten million channels in one convolution, and a vocabulary of 19 million words of 32 numbers: gigabytes each.
HUGE: dict[str, dict[str, Any]] = {
    TEXTS: {"vocab_size": 19_000_000},
    IMAGES: {"latent_channels": 10**7},
    NETWORK: {"in_channels": 10**7, "out_channels": 10**7, "time_cond_proj_dim": 10**7},
    FILTER: {"projection_dim": 10**7},
}


@pytest.mark.parametrize(("way", "part"), WAYS)
def test_a_part_that_claims_gigabytes_is_refused_before_it_takes_any(
    way: Callable[..., Load], part: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_model(), tmp_path / "model")
    load = way(model, whole, monkeypatch)
    changed(model / part / "config.json", **HUGE[part])
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    with pytest.raises(ModelUnavailable, match=r"claims|fits none"):
        load()
    assert process.memory_info().rss - before < 100 * 1024**2
    assert time.process_time() - started < 4


@pytest.mark.parametrize("way", [of_a_folder, of_a_base, of_a_file_with_a_configuration_of_the_hub])
@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        (
            "scheduler/scheduler_config.json",
            {"num_train_timesteps": -1},
            "its num_train_timesteps is -1, and should be",
        ),
        ("scheduler/scheduler_config.json", {"beta_start": 5.0}, "its numbers make no noise schedule"),
        ("scheduler/scheduler_config.json", {"beta_start": "x"}, "its beta_start is 'x', and should be a number"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 2}, "its model_max_length is 2"),
        ("vae/config.json", {"auto_map": {"a": "b.C"}}, "its auto_map names Python code"),
    ],
)
def test_small_parts_are_tried_on_every_way(
    way: Callable[..., Load],
    file: str,
    changes: dict[str, Any],
    reason: str,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = shutil.copytree(tiny_model(), tmp_path / "model")
    load = way(model, whole, monkeypatch)
    changed(model / file, **changes)
    with pytest.raises(ModelUnavailable, match=reason):
        load()


@pytest.mark.parametrize(
    "numbers",
    [{"scaling_factor": 0.0}, {"scaling_factor": 1e-300}, {"latents_mean": [0.0] * 4, "latents_std": [0.0] * 4}],
)
def test_a_scale_without_numbers_is_refused(numbers: dict[str, Any]) -> None:
    options: dict[str, Any] = {"block_out_channels": (8,), "norm_num_groups": 4}
    with torch.device("meta"):
        right, wrong = AutoencoderKL(**options), AutoencoderKL(**options, **numbers)
    try_scale(right)
    with pytest.raises(TrialError, match="scale no latents"):
        try_scale(wrong)


def test_the_steps_of_flows_are_tried_as_well(tmp_path: Path) -> None:
    try_steps(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))
    write_pipeline("flux", tmp_path / "flux")
    config = tmp_path / "flux" / "scheduler" / "scheduler_config.json"
    changed(config, use_dynamic_shifting=True, base_image_seq_len=256, max_image_seq_len=256)
    with pytest.raises(ModelUnavailable, match=r"scheduler_config\.json: .*ZeroDivisionError"):
        loaded(tmp_path / "flux")()


def test_factors_of_fp8_weights_make_no_large_tensor_of_two_small_ones(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    row = torch.zeros(1, 200_000, dtype=torch.float8_e4m3fn)
    save_file({"a.weight": row, "a.scale_weight": torch.ones(200_000), "scaled_fp8": torch.zeros(1)}, path)
    with pytest.raises(ModelUnavailable):
        WeightFile(path).tensors()
