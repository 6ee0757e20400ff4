"""Models are found in the sub-folders that other programs have, by names that never become paths."""

import os
import time
from pathlib import Path

import pytest

from sd_api.models import folders
from sd_api.models.folders import CHECKPOINT, CONTROLNET, EMBEDDING, IP_ADAPTER, LORA, VAE, ModelFolders
from sd_api.settings import Settings


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def trees(tmp_path: Path) -> ModelFolders:
    """A folder of one's own, an installation of AUTOMATIC1111's web UI and the models of ComfyUI."""
    own, webui, comfy = (tmp_path / name for name in ("own", "webui", "comfy"))
    put(own / "loras" / "ink.safetensors", b"first")
    put(webui / "models" / "Stable-diffusion" / "old" / "dream.ckpt")
    put(webui / "models" / "Lora" / "ink.safetensors", b"second one")
    put(webui / "models" / "Lora" / "notes.txt")
    put(webui / "models" / "LyCORIS" / "loha.safetensors")
    put(webui / "embeddings" / "dotty.pt")
    put(webui / "models" / "VAE" / "sharp.vae.pt")
    put(comfy / "loras" / "people" / "Ada.safetensors")
    put(comfy / "loras" / ".cache" / "part.safetensors")
    put(comfy / "controlnet" / "canny.pth")
    put(comfy / "controlnet" / "depth" / "config.json")
    put(comfy / "controlnet" / "depth" / "diffusion_pytorch_model.safetensors", b"12345")
    put(comfy / "ipadapter" / "plus.bin")
    return ModelFolders(trees=[own, webui, tmp_path / "gone", comfy])


def test_every_kind_is_found_where_other_programs_have_it(trees: ModelFolders) -> None:
    names = {kind: [file.name for file in trees.files(kind)] for kind in (CHECKPOINT, LORA, EMBEDDING, VAE, IP_ADAPTER)}
    assert names == {
        CHECKPOINT: ["old/dream"],
        LORA: ["ink", "loha", "people/Ada"],
        EMBEDDING: ["dotty"],
        VAE: ["sharp.vae"],
        IP_ADAPTER: ["plus"],
    }
    canny, depth = trees.files(CONTROLNET)
    assert (canny.name, depth.name, depth.path.is_dir(), depth.size) == ("canny", "depth", True, 6)


def test_the_earlier_folder_counts_and_what_is_new_is_found(trees: ModelFolders, tmp_path: Path) -> None:
    ink = trees.find(LORA, "ink.safetensors")
    assert ink is not None
    assert ink.path.read_bytes() == b"first"
    assert trees.find(LORA, "cloth") is None
    put(tmp_path / "own" / "loras" / "cloth.safetensors")
    assert trees.find(LORA, "cloth") is not None
    by_path, by_file = trees.find(LORA, "people/Ada"), trees.find(LORA, "ADA")
    assert by_path == by_file != None  # noqa: E711 - both are one
    put(tmp_path / "own" / "loras" / "ada.safetensors")
    exact = trees.find(LORA, "ada")
    assert exact is not None
    assert exact.name == "ada"
    assert trees.find(LORA, "ADA") is None


def test_a_costly_look_is_kept_and_what_is_new_is_found_after_it(
    trees: ModelFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_COSTLY", -1.0)
    monkeypatch.setattr(folders, "_KEPT", 1e9)
    before = trees.files(LORA)
    put(tmp_path / "own" / "loras" / "cloth.safetensors")
    assert trees.files(LORA) == before
    assert [file.name for file in trees.files(EMBEDDING)] == ["dotty"]
    later = time.monotonic() + 1e12
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert "cloth" in [file.name for file in trees.files(LORA)]


def test_a_name_never_leaves_the_folders(trees: ModelFolders, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.safetensors")
    for name in ("../../secret", str(secret), "people/../../../secret", ".cache/part", "", "."):
        assert trees.find(LORA, name) is None


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    kept = put(tmp_path / "elsewhere" / "wool.safetensors").parent
    folder = tmp_path / "tree" / "loras"
    folder.mkdir(parents=True)
    (folder / "shared").symlink_to(kept)
    (kept / "back").symlink_to(folder)
    (folder / "gone.safetensors").symlink_to(tmp_path / "nothing")
    assert [file.name for file in ModelFolders(trees=[tmp_path / "tree"]).files(LORA)] == ["shared/wool"]


def test_a_folder_that_is_one_model_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_SEEN", 20)
    whole = tmp_path / "controlnet" / "depth"
    for number in range(40):
        put(whole / "many" / str(number))
    put(whole / "config.json")
    (file,) = ModelFolders(trees=[tmp_path]).files(CONTROLNET)
    assert (file.name, file.size < 40) == ("depth", True)


def test_a_folder_in_the_place_of_the_marker_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "controlnet" / "odd" / "config.json").mkdir(parents=True)
    assert [file.size for file in ModelFolders(trees=[tmp_path]).files(CONTROLNET)] == [0]


def test_folders_of_the_configuration_come_in_its_order(tmp_path: Path) -> None:
    for number, place in enumerate(("mine", "models/loras", "webui/models/Lora")):
        put(tmp_path / place / "same.safetensors", bytes(number + 1))
    settings = Settings.model_validate(
        {
            "loras": str(tmp_path / "mine"),
            "models_folder": str(tmp_path / "models"),
            "extra_model_paths": [str(tmp_path / "webui")],
        }
    )
    sizes = []
    for folder in ("mine", "models/loras"):
        sizes += [file.size for file in ModelFolders.of(settings).files(LORA)]
        (tmp_path / folder / "same.safetensors").unlink()
    assert [*sizes, *(file.size for file in ModelFolders.of(settings).files(LORA))] == [1, 2, 3]
