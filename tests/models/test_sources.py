"""What a model's name means."""

import os
import shutil
from pathlib import Path

import pytest

from sd_api.errors import ModelUnavailable
from sd_api.models.sources import BUILTIN_MODEL, HubModel, ModelDirectory, ModelFile, parse_source


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, so that no name exists by chance."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home that is not the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    return home


def message(name: str | Path) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        parse_source(name)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("name", [BUILTIN_MODEL, str(BUILTIN_MODEL), f"{BUILTIN_MODEL}{os.sep}"])
def test_a_directory_with_a_model_index(name: str | Path) -> None:
    assert parse_source(name) == ModelDirectory(BUILTIN_MODEL)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "My Model.SafeTensors"])
def test_a_single_file(working_directory: Path, name: str) -> None:
    (working_directory / name).touch()
    assert parse_source(name) == ModelFile(Path(name))
    assert parse_source(working_directory / name) == ModelFile(working_directory / name)


@pytest.mark.parametrize("name", ["gpt2", "CompVis/stable-diffusion-v1-4", "stabilityai/sd-turbo", "a/b.v1_5"])
def test_a_name_on_the_hub(name: str) -> None:
    assert parse_source(name) == HubModel(name)


def test_what_exists_goes_before_the_hub(working_directory: Path) -> None:
    shutil.copytree(BUILTIN_MODEL, working_directory / "organization" / "model")
    assert parse_source("organization/model") == ModelDirectory(Path("organization/model"))


def test_the_users_home(home: Path) -> None:
    (home / "model.ckpt").touch()
    assert parse_source("~/model.ckpt") == ModelFile(home / "model.ckpt")


@pytest.mark.parametrize(
    ("removed", "successor"),
    [
        ("runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("runwayml/stable-diffusion-inpainting", "stable-diffusion-v1-5/stable-diffusion-inpainting"),
    ],
)
def test_models_that_the_hub_removed(removed: str, successor: str, caplog: pytest.LogCaptureFixture) -> None:
    assert parse_source(removed) == HubModel(successor)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert removed in record.getMessage()
    assert successor in record.getMessage()


def test_sources_read_as_their_name() -> None:
    assert str(HubModel("a/b")) == "a/b"
    assert str(ModelFile(Path("model.ckpt"))) == "model.ckpt"


def test_one_path_as_a_file_and_as_a_directory_are_two_sources() -> None:
    assert len({ModelFile(BUILTIN_MODEL), ModelDirectory(BUILTIN_MODEL), ModelFile(BUILTIN_MODEL)}) == 2


def test_a_directory_without_a_model_index_says_what_it_contains(working_directory: Path) -> None:
    (working_directory / "unpacked" / "model").mkdir(parents=True)
    assert message("unpacked") == "unpacked is no diffusers model: no model_index.json is in it; it contains model/"
    (working_directory / "empty").mkdir()
    assert message("empty").endswith("it contains nothing")
    for number in range(20):
        (working_directory / "empty" / f"{number:02}.png").touch()
    assert message("empty").endswith(
        "it contains 00.png, 01.png, 02.png, 03.png, 04.png, 05.png, 06.png, 07.png and 12 more"
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is unreadable for this user")
def test_a_directory_that_cannot_be_read(working_directory: Path) -> None:
    (working_directory / "locked").mkdir(mode=0)
    assert message("locked").endswith("it cannot be read (Permission denied)")


def test_a_file_of_another_kind_lists_the_valid_ones(working_directory: Path) -> None:
    (working_directory / "model.pt").touch()
    assert message("model.pt").startswith("model.pt is no model file; valid are ")
    index = message(BUILTIN_MODEL / "model_index.json")
    for part in (
        "a directory that contains model_index.json",
        ".safetensors or .ckpt",
        "CompVis/stable-diffusion-v1-4",
    ):
        assert part in index


def test_an_unfinished_download_is_called_one(working_directory: Path) -> None:
    (working_directory / "model.safetensors.crdownload").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match="is an unfinished download"):
        parse_source("model.safetensors.crdownload")


@pytest.mark.parametrize("name", ["gone.safetensors", "gone/model_index.json"])
def test_a_link_to_what_has_been_deleted_is_called_one(working_directory: Path, name: str) -> None:
    link = working_directory / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("blobs/0123")
    with pytest.raises(ModelUnavailable, match=rf"{name} is a link to blobs/0123, which is not there"):
        parse_source(name.removesuffix("/model_index.json"))


def test_a_path_that_does_not_exist_says_how_far_it_does(working_directory: Path) -> None:
    (working_directory / "models").mkdir()
    path = working_directory / "models" / "portraits" / "v2"
    assert message(path) == f"the directory {path} does not exist; what exists of this path is {path.parents[1]}"
    assert message("./models/portraits/v2").endswith(f"what exists of this path is {path.parents[1]}")


@pytest.mark.parametrize("name", ["models/v1.safetensors", "v1.ckpt", "/models/v1.CKPT"])
def test_a_file_that_does_not_exist_is_no_name_on_the_hub(name: str) -> None:
    assert message(name).startswith(f"the file {name} does not exist; what exists of this path is /")


def test_a_windows_path_with_spaces() -> None:
    assert message(r"G:\My Drive\weights").startswith(r"the directory G:\My Drive\weights does not exist")


@pytest.mark.parametrize("name", ["stable diffusion", "sd--v1", "modèle", "x" * 5000, "nul\0byte"])
def test_a_name_that_the_hub_cannot_have(working_directory: Path, name: str) -> None:
    text = message(name)
    assert text.startswith(f"{name} is neither in {working_directory} nor a valid name of a model on the hub")
    assert "such as CompVis/stable-diffusion-v1-4" in text


@pytest.mark.parametrize("name", ["", "  "])
def test_no_name_at_all(name: str) -> None:
    assert message(name).startswith("no model is named; valid are ")
