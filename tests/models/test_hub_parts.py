"""Autoencoders and text encoders of the hub: wherever a repository has them, or refused by the check as by loading."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import MEMBER, STRANGER, FakeHub, Repository
from hub_app import TINY, UNET
from outcomes import outcome
from pydantic import SecretStr
from safetensors.torch import load, load_file
from tiny_model import tiny_model

from sd_api.errors import ModelUnavailable
from sd_api.models.check import look_further
from sd_api.models.hub_parts import cached_part
from sd_api.models.precision import Precision
from sd_api.models.separate_parts import separate_parts
from sd_api.settings import Limits, ModelSettings, Settings

CONFIG, WEIGHTS = (f"vae/{name}" for name in ("config.json", "diffusion_pytorch_model.safetensors"))
VAE = {name.removeprefix("vae/"): TINY.files[name] for name in (CONFIG, WEIGHTS)}
IN_FOLDER = {CONFIG: TINY.files[CONFIG], WEIGHTS: TINY.files[WEIGHTS]}
ONE_FILE = {"README.md": b"#", "my-vae.safetensors": TINY.files[WEIGHTS]}

RIGHT = {
    "at its top": VAE,
    "in a folder": {"README.md": b"#", **IN_FOLDER},
    "a whole model": dict(TINY.files),
    "one file": ONE_FILE,
    "one file, and the same pickled": ONE_FILE | {"my-vae.ckpt": b"old"},
    "at its top and as one file": VAE | {"my-vae.safetensors": b"for other programs"},
}

REFUSED = {
    "two files": (ONE_FILE | {"other.safetensors": b"?"}, "Its files with weights: my-vae.safetensors, other.safetens"),
    "no weights": ({"config.json": VAE["config.json"]}, "demo/vae holds no vae by itself"),
    "another class": (VAE | {"config.json": json.dumps({"_class_name": "Mine"}).encode()}, "is of diffusers.Mine"),
    "a damaged configuration": (VAE | {"config.json": b"{"}, "config.json: not valid JSON"),
}

pytestmark = pytest.mark.usefixtures("cache")


ENTRIES = {
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
}


def loaded(token: str | None = None, **settings: Any) -> dict[str, Any]:
    """The parts in place of the tiny model's own."""
    own = ModelSettings.model_validate(settings)
    return separate_parts(own, tiny_model(), ENTRIES, Precision(torch.float32), token, Limits())


def refusal(token: str | None = None, **settings: Any) -> str:
    """Why loading refuses it, and the check as well."""
    with pytest.raises(ModelUnavailable) as caught:
        loaded(token, **settings)
    secret = SecretStr(token) if token else None
    checked = Settings(
        model=str(tiny_model()), model_settings=ModelSettings(**settings), device="cpu", dtype="fp32", hf_token=secret
    )
    assert look_further(checked).faults == [f"model: {caught.value.message}"]
    return caught.value.message


@pytest.mark.parametrize("case", RIGHT)
def test_it_is_found_and_from_then_on_taken_from_the_cache(
    case: str, hub: FakeHub, make_settings: Callable[..., Settings]
) -> None:
    hub.repositories["demo/vae"] = Repository(RIGHT[case])
    settings = make_settings(model=str(tiny_model()), dtype="fp32", model_settings={"vae": "demo/vae"})
    found = look_further(settings)
    assert found.faults == []
    assert "are to be downloaded; from then on" in found.plans[0]
    expected = load(TINY.files[WEIGHTS])
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded(vae="demo/vae")["vae"].state_dict().items())
    assert (hub.downloads(UNET), hub.downloads("my-vae.ckpt")) == (0, 0)
    with hub.gone():
        assert loaded(vae="demo/vae")
        assert case != "one file" or "on the disk" in look_further(settings).plans[0]


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_its_weights_are_downloaded(case: str, hub: FakeHub) -> None:
    files, reason = REFUSED[case]
    hub.repositories["demo/vae"] = Repository(files)
    assert reason in refusal(vae="demo/vae")
    assert [hub.downloads(name) for name in files if name.endswith("safetensors")] == [0] * sum(
        name.endswith("safetensors") for name in files
    )


@pytest.mark.parametrize(
    ("name", "token", "reason"),
    [
        ("demo/gated", None, "is gated, and this server has no token"),
        ("demo/gated", STRANGER, "is gated, and the account of the token in hf_token may not read it"),
        ("demo/tinny", None, "There is no model demo/tinny"),
        ("demo/tinny", MEMBER, "There is no model demo/tinny"),
        ("demo/disabled", None, "demo/disabled was disabled"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_may_not_be_read_is_refused(name: str, token: str | None, reason: str) -> None:
    assert reason in refusal(token, vae=name)


def test_where_the_hub_cannot_be_reached_it_says_so(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub.gone():
        assert "cannot be reached" in refusal(vae="demo/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in refusal(vae="demo/tiny")


def test_a_part_of_which_files_are_missing_is_completed(hub: FakeHub) -> None:
    hub.repositories["demo/vae"] = Repository(IN_FOLDER)
    loaded(vae="demo/vae")
    place = cached_part("demo/vae", "vae", half=False)
    assert place is not None
    (place / WEIGHTS.partition("/")[2]).resolve().unlink()
    assert cached_part("demo/vae", "vae", half=False) is None
    loaded(vae="demo/vae")
    assert hub.downloads(WEIGHTS) == 2


def test_a_text_encoder_is_found_as_well(hub: FakeHub, tmp_path: Path) -> None:
    expected = load_file(tiny_model() / "text_encoder" / "model.safetensors")
    for name in ("demo/tiny", str(tiny_model() / "text_encoder")):
        found = loaded(text_encoders=[name])["text_encoder"].state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items() if key in expected)
    assert hub.downloads("text_encoder/model.safetensors") == 1
    with pytest.raises(ModelUnavailable, match="is a whole model; name the folder of one of its text encoders"):
        loaded(text_encoders=[str(tiny_model())])


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    return shutil.copyfile(tiny_model() / UNET, tmp_path / "unet.safetensors")


def test_a_base_of_the_hub_is_downloaded_without_what_the_file_has(hub: FakeHub, unet: Path) -> None:
    refusal, pipeline = outcome(unet, base="demo/tiny", vae="demo/half")
    assert refusal is None
    assert pipeline.unet is not None
    assert [hub.downloads(name) for name in (UNET, WEIGHTS, "text_encoder/model.safetensors")] == [0, 0, 1]
    assert hub.downloads(WEIGHTS.replace(".safetensors", ".fp16.safetensors")) == 1
    with hub.gone():
        assert outcome(unet, base="demo/tiny", vae="demo/half")[0] is None
        # Its own autoencoder was not needed.
        refusal, _ = outcome(unet, base="demo/tiny")
        assert refusal is not None
        assert "cannot be reached" in refusal


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("demo/gated", "is gated, and this server has no token"),
        ("demo/tinny", "There is no model demo/tinny"),
        ("demo/single-file", "it is not a diffusers model"),
        ("demo/own-pipeline", "needs Python code of its own"),
        ("demo/video", "is a model for StableVideoDiffusionPipeline"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_a_base_that_cannot_be_had_is_refused_with_the_reason(base: str, reason: str, unet: Path) -> None:
    refusal, _ = outcome(unet, base=base)
    assert refusal is not None
    assert reason in refusal
    checked = Settings(model=str(unet), model_settings=ModelSettings(base=base), device="cpu", dtype="fp32")
    assert look_further(checked).faults == [f"model: {refusal}"]
