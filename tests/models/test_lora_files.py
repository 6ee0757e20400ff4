"""What the headers of LoRAs tell, and the hashes that other programs compute of their files."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file
from tiny_loras import save_kohya_lora

from sd_api.generation.controls import Control
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import TextToImage
from sd_api.models.adapters import lora_files
from sd_api.models.adapters.hashes import written_hashes
from sd_api.models.adapters.lora_files import described_loras, find_lora, read_header
from sd_api.models.folders import CONTROLNET, EMBEDDING, LORA, VAE, ModelFolders
from sd_api.settings import Limits


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lcm-lora-sdv1-5/pytorch_lora_weights", {"steps": 4, "guidance": 1.0, "scheduler": "lcm"}),
        ("sdxl_lightning_2step_lora", {"steps": 2, "guidance": 1.0, "scheduler": "euler-trailing"}),
        ("Hyper-SD15-8steps-lora", {"steps": 8, "guidance": 1.0, "scheduler": "tcd"}),
        ("Hyper-SDXL-1step-lora", {"steps": 1, "guidance": 1.0, "scheduler": "tcd"}),
        ("dmd2_sdxl_4step_lora_fp16", {"steps": 4, "guidance": 1.0, "scheduler": "lcm"}),
        ("TCD-SDXL-LoRA", {"steps": 4, "guidance": 1.0, "scheduler": "tcd"}),
        ("FLUX.1-Turbo-Alpha", {"steps": 8, "guidance": 3.5}),
        ("Qwen-Image-Lightning-4steps-V1.0", {"steps": 4, "guidance": 1.0}),
        ("sd_xl_turbo_lora_v1", {"steps": 4, "guidance": 1.0, "scheduler": "euler-a-trailing"}),
        ("hyperrealism", {}),
        ("white_lightnings", {}),
        ("calcmark", {}),
    ],
)
def test_loras_for_few_steps_are_known_by_their_names(tmp_path: Path, name: str, hint: object) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    save_kohya_lora(tmp_path / f"{name}.safetensors", 768, 1)
    (file,) = ModelFolders({LORA: [tmp_path]}).files(LORA)
    assert read_header(file).hint == hint


@pytest.mark.parametrize("frequency", ["no JSON", "[1]", '{"a": [1]}', '{"a": {"b": "c"}}', '{"a": 1}', "1"])
def test_odd_metadata_is_no_fault(tmp_path: Path, frequency: str) -> None:
    save_kohya_lora(tmp_path / "odd.safetensors", 768, 1, {"ss_tag_frequency": frequency, "ss_output_name": " a\nb "})
    folders = ModelFolders({LORA: [tmp_path]})
    (file,) = folders.files(LORA)
    assert (read_header(file).words, read_header(file).alias) == ((), "ab")
    assert find_lora(folders, "AB") == file
    assert find_lora(folders, "") is None


def test_a_file_is_read_once_whether_or_not_it_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1100):
        save_kohya_lora(tmp_path / f"{number}.safetensors", 768, 1)
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    folders = ModelFolders({LORA: [tmp_path]})
    described = described_loras(folders)
    assert sum(lora["problem"] is None for lora in described) == 1100

    def read(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(lora_files, "check_safetensors", read)
    assert described_loras(folders) == described


def test_metadata_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    metadata = {"ss_tag_frequency": '{"a": {"cat": 3}}' + " " * 40_000, "ss_output_name": "Cat"}
    save_kohya_lora(tmp_path / "long.safetensors", 768, 1, metadata)
    (lora,) = described_loras(ModelFolders({LORA: [tmp_path]}))
    assert (lora["words"], lora["metadata"]) == (["cat"], {"ss_output_name": "Cat"})


def test_hashes_are_those_of_other_programs(tmp_path: Path) -> None:
    lora = save_kohya_lora(tmp_path / "ink.safetensors", 768, 1, {"note": "changes the header only"})
    bare = lora.read_bytes()
    weights = hashlib.sha256(bare[8 + int.from_bytes(bare[:8], "little") :]).hexdigest()[:12]
    save_kohya_lora(tmp_path / "said.safetensors", 768, 1, {"sshs_model_hash": "AB" * 32})
    (tmp_path / "words").mkdir()
    save_file({"emb_params": torch.zeros(1, 64)}, tmp_path / "words" / "Dotty.safetensors")
    dotty = hashlib.sha256(save({"emb_params": torch.zeros(1, 64)})).hexdigest()[:12]
    folders = ModelFolders({LORA: [tmp_path], EMBEDDING: [tmp_path / "words"], VAE: [tmp_path], CONTROLNET: [tmp_path]})

    def hashes(prompt: str, **fields: Any) -> dict[str, str]:
        values: dict[str, Any] = {"steps": 1, "guidance": 1.0, "width": 64, "height": 64, **fields}
        operation = TextToImage(prompt=prompt, **values, limits=Limits())
        return written_hashes(folders, operation)

    assert hashes("a dog dottyish") == {}
    assert hashes("dotty <lora:ink> <lora:said:0.5> <lora:none>", vae="ink") == {
        "Lora hashes": f"ink: {weights}, said: {'ab' * 6}",
        "TI hashes": f"Dotty: {dotty}",
        "VAE hash": hashlib.sha256(bare).hexdigest()[:10],
    }
    assert hashes("dotty", prompt_syntax="plain") == {}
    # The old hash of the web UI, which its extension writes, is of the 64 KiB behind the first MiB.
    (tmp_path / "canny.pth").write_bytes(bytes(2**20) + b"hashed")
    image = ImageRef.of(Image.new("RGB", (8, 8)), "image")
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "config.json").touch()
    controls = tuple(Control(model=name, image=image) for name in ("Canny [01234567]", "depth", "none"))
    assert hashes("x", controls=controls) == {
        "ControlNet 0": replace(controls[0], model=f"canny [{hashlib.sha256(b'hashed').hexdigest()[:8]}]").text()
    }
