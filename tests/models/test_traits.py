"""What the checkpoints of one architecture differ in is read from keys, metadata, training steps, weights and names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EDMDPMSolverMultistepScheduler, EulerDiscreteScheduler

from sd_api.generation.schedulers import SCHEDULERS
from sd_api.models.defaults import published_defaults
from sd_api.models.families.latent_previews import predicted_original
from sd_api.models.headers import Header, TensorInfo
from sd_api.models.schedulers import make_scheduler, usable_schedulers
from sd_api.models.sources import HubModel, ModelDirectory
from sd_api.models.traits import Traits, traits_of

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
TELLING = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
EPSILON, V = "epsilon", "v_prediction"


def found(
    name: str = "model", keys: tuple[str, ...] = (), version_2: bool = False, values: Any = None, **metadata: str
) -> Traits:
    infos = {key: TensorInfo((), "F32", 4) for key in (CONV_IN, *keys)}
    metadata = {key.replace("__", "."): value for key, value in metadata.items()}
    header = Header(Path(f"{name}.safetensors"), "safetensors", infos, metadata, name)
    return traits_of(header, lambda key: (values or {})[key], version_2=version_2, is_whole=True)


@pytest.mark.parametrize(
    ("case", "prediction", "zero_snr"),
    [
        ({}, None, False),
        ({"keys": ("v_pred",)}, V, False),
        ({"keys": ("v_pred", "ztsnr")}, V, True),
        ({"keys": ("model.v_pred", "model.ztsnr")}, V, True),
        ({"modelspec__prediction_type": "v"}, V, False),
        ({"modelspec__prediction_type": "epsilon", "name": "not_vpred"}, EPSILON, False),
        ({"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, V, True),
        ({"ss_v_parameterization": "False"}, None, False),
        ({"name": "noobaiXLNAIXL_vPred10Version"}, V, False),
        ({"name": "fluffyrock-v-pred-e90"}, V, False),
        ({"modelspec__title": "Some v_prediction model"}, V, False),
        # Stable Diffusion 2: steps of the published models, then what is left.
        ({"version_2": True}, V, False),
        ({"version_2": True, "global_step": "875000"}, EPSILON, False),
        ({"version_2": True, "global_step": "220000"}, EPSILON, False),
        ({"version_2": True, "global_step": "110000"}, V, False),
        (
            {"version_2": True, "keys": ("global_step",), "values": {"global_step": torch.tensor(875000)}},
            EPSILON,
            False,
        ),
        ({"version_2": True, "modelspec__architecture": "stable-diffusion-v2-512"}, EPSILON, False),
        ({"version_2": True, "modelspec__architecture": "stable-diffusion-v2-768-v"}, V, False),
        ({"version_2": True, "name": "512-base-ema"}, EPSILON, False),
        ({"version_2": True, "name": "v2-1_768-v-ema"}, V, False),
        ({"version_2": True, "keys": (TELLING,), "values": {TELLING: torch.tensor([0.0, 0.3])}}, V, False),
        ({"version_2": True, "keys": (TELLING,), "values": {TELLING: torch.tensor([0.0, 0.1])}}, EPSILON, False),
        # A later epoch, of which only the weights tell.
        (
            {"version_2": True, "global_step": "9", "keys": (TELLING,), "values": {TELLING: torch.zeros(2)}},
            EPSILON,
            False,
        ),
    ],
)
def test_what_the_network_predicts(case: dict[str, Any], prediction: str | None, zero_snr: bool) -> None:
    traits = found(**case)
    assert traits.prediction_type == prediction
    assert traits.zero_snr is bool(zero_snr)


@pytest.mark.parametrize(
    ("name", "scheduler", "steps", "guidance"),
    [
        ("sd_xl_turbo_1.0_fp16", "EulerAncestralDiscreteScheduler", 4, 0.0),
        ("dreamshaperXL_v21TurboDPMSDE", "EulerAncestralDiscreteScheduler", 4, 0.0),
        ("sdxl_lightning_8step", "EulerDiscreteScheduler", 8, 0.0),
        ("sdxl_lightning_2step_unet", "EulerDiscreteScheduler", 2, 0.0),
        ("juggernautXL_v9Rdphoto2Lightning", "EulerDiscreteScheduler", 4, 0.0),
        ("Hyper-SDXL-1step-Unet", "DDIMScheduler", 1, 0.0),
        ("epicrealism_pureEvolutionV5-hyper", "DDIMScheduler", 8, 0.0),
        ("DreamShaper8_LCM", "LCMScheduler", 4, 1.0),
        ("dmd2_sdxl_4step_unet_fp16", "LCMScheduler", 4, 0.0),
    ],
)
def test_models_for_few_steps(name: str, scheduler: str, steps: int, guidance: float) -> None:
    traits = found(name)
    assert traits.defaults == {"steps": steps, "guidance": guidance, "scheduler": None}
    class_name, config = traits.scheduler("EulerDiscreteScheduler", {"timestep_spacing": "leading"})
    assert class_name == scheduler
    assert config["timestep_spacing"] == ("leading" if name.endswith("LCM") else "trailing")


@pytest.mark.parametrize(
    "name", ["hyperrealism_30", "HyperRealisticV2", "film4com", "illustriousXL", "cyberrealistic_50steps"]
)
def test_other_names_mean_nothing(name: str) -> None:
    assert found(name).defaults == {}


def test_a_title_in_the_metadata_counts_as_a_name() -> None:
    assert found(modelspec__title="SDXL Lightning, 4-step").defaults["steps"] == 4


def test_folders_and_hub_models_have_names_as_well() -> None:
    assert published_defaults(HubModel("stabilityai/sdxl-turbo"))["steps"] == 4
    assert published_defaults(ModelDirectory(Path("/models/My SDXL Lightning 2step")))["steps"] == 2
    assert published_defaults(HubModel("stable-diffusion-v1-5/stable-diffusion-v1-5")) == {}


def test_pure_noise_at_the_last_step_needs_a_scheduler_that_knows_it() -> None:
    class_name, config = Traits(V, zero_snr=True).scheduler("PNDMScheduler", {"steps_offset": 1})
    assert class_name == "DDIMScheduler"
    own = DDIMScheduler.from_config(config)
    assert float(own.alphas_cumprod[-1]) == 0
    usable = usable_schedulers(own)
    assert {"ddim", "euler", "dpm++"} <= set(usable)
    assert {"plms", "k-lms"}.isdisjoint(usable)
    for name in usable:
        made = make_scheduler(name, own)
        assert (made.config.prediction_type, made.config.rescale_betas_zero_snr) == (V, True)
    assert type(make_scheduler("plms", own)) is DDIMScheduler


def test_edm_models_have_schedulers_of_their_own_and_previews() -> None:
    own = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    assert usable_schedulers(own) == ("euler", "dpm++", "dpm++-2m-sde")
    for name in (None, *SCHEDULERS):
        made = make_scheduler(name, own)
        assert type(made).__name__.startswith("EDM")
        assert made.config.sigma_max == 80.0
    own.set_timesteps(3)
    original, noise = (
        torch.full((1, 4, 2, 2), 0.25),
        torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1)),
    )
    sigma = own.sigmas[1]
    sample = original + sigma * noise
    # What a network that knows the original would say (arXiv:2206.00364, equation 7).
    skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25) ** 0.5
    seen = predicted_original(own, (original - skip * sample) / out, own.timesteps[1], sample)
    assert torch.allclose(seen, original, atol=1e-4)


def test_models_without_marks_keep_all_schedulers() -> None:
    assert usable_schedulers(EulerDiscreteScheduler()) == tuple(SCHEDULERS)
