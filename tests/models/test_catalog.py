"""Which models a task may name."""

from pathlib import Path
from typing import Any

import pytest

from sd_api.errors import UnknownModel
from sd_api.models.catalog import DOCUMENTED_DEFAULT, ModelCatalog
from sd_api.models.sources import HubModel
from sd_api.settings import Settings


def catalog(**changes: Any) -> ModelCatalog:
    return ModelCatalog(Settings.model_validate({"model": "owner/main", "any_model": False, **changes}))


@pytest.mark.parametrize("model_id", [None, "owner/main", DOCUMENTED_DEFAULT])
def test_the_main_model_has_several_names(model_id: str | None) -> None:
    found = catalog().find("huggingface", model_id)
    assert (found.name, found.provider, found.model_id) == (None, "huggingface", "owner/main")


def test_a_main_model_on_this_machine_goes_by_its_name_at_every_provider(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    models = catalog(model=str(tmp_path))
    found = models.find("huggingface", None)
    assert (found.name, found.provider, found.model_id) == (None, "huggingface", tmp_path.name)
    assert found == models.find("local", None) == models.find("huggingface", tmp_path.name)
    assert found == models.find("local", tmp_path.name)


def test_a_custom_model_is_found_though_the_main_one_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    mine = {"model_path": str(tmp_path), "ui_label": "Mine", "url_path": tmp_path.name}
    found = catalog(model=str(tmp_path), custom_models=[mine]).find("local", tmp_path.name)
    assert (found.name, found.provider) == (tmp_path.name, "local")


def test_the_documented_default_is_itself_where_it_is_allowed() -> None:
    found = catalog(allowed_models=[DOCUMENTED_DEFAULT]).find("huggingface", DOCUMENTED_DEFAULT)
    assert found.name == f"huggingface:{DOCUMENTED_DEFAULT}"
    assert found.source == HubModel(DOCUMENTED_DEFAULT)
    both = {"model": DOCUMENTED_DEFAULT, "allowed_models": [DOCUMENTED_DEFAULT]}
    assert catalog(**both).find("huggingface", DOCUMENTED_DEFAULT).name is None


def test_what_is_not_allowed_is_refused_with_what_is() -> None:
    with pytest.raises(UnknownModel, match="Allowed are: a/b"):
        catalog(allowed_models=["a/b"]).find("huggingface", "c/d")


def test_any_model_of_the_hub_may_be_allowed() -> None:
    found = catalog(any_model=True).find("huggingface", "c/d")
    assert (found.name, found.source) == ("huggingface:c/d", HubModel("c/d"))
    assert catalog(any_model=True).named(found.name) == found


@pytest.mark.parametrize("model_id", ["/etc", "../x", "~", ".", "a/b/c", "a:b", "", "C:\\models", "a\0b"])
def test_a_path_is_never_a_model_on_the_hub(model_id: str) -> None:
    with pytest.raises(UnknownModel):
        catalog(any_model=True).find("huggingface", model_id)


def test_a_folder_of_that_name_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c" / "d").mkdir(parents=True)
    (tmp_path / "c" / "d" / "model_index.json").write_text("{}")
    assert catalog(any_model=True).find("huggingface", "c/d").source == HubModel("c/d")


def test_local_models_go_by_their_url_path(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    models = [{"model_path": str(tmp_path), "ui_label": "Mine", "url_path": "my/model"}]
    found = catalog(custom_models=models).find("local", "my/model")
    assert (found.name, found.label) == ("my/model", "Mine")
    assert catalog(custom_models=models).named("my/model") == found
    with pytest.raises(UnknownModel, match="This server has: my/model"):
        catalog(custom_models=models).find("local", str(tmp_path))
    # A provider's name alone is no provider.
    named_so = [models[0] | {"url_path": "huggingface"}]
    assert catalog(custom_models=named_so).at_path("huggingface", from_here=False) == "huggingface"


def test_by_default_only_clients_on_this_computer_name_any_model() -> None:
    models = catalog(any_model=None, allowed_models=["a/b"])
    assert models.find("huggingface", "c/d").source == HubModel("c/d")
    with pytest.raises(UnknownModel, match="Allowed are: a/b"):
        models.find("huggingface", "c/d", from_here=False)
    for model_id in ("a/b", "owner/main", DOCUMENTED_DEFAULT, None):
        assert models.find("huggingface", model_id, from_here=False)
    assert catalog(any_model=True).find("huggingface", "c/d", from_here=False)


def test_checkpoints_in_the_folders_are_local_models_as_they_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "Stable-diffusion"
    folder.mkdir()
    for name in ("main", "mine", "dream"):
        (folder / f"{name}.safetensors").touch()
    mine = {"model_path": str(folder / "mine.safetensors"), "ui_label": "Mine", "url_path": "my/model"}
    models = catalog(
        any_model=None,
        model=str(folder / "main.safetensors"),
        custom_models=[mine],
        models_folder=str(tmp_path),
        requires_safety_checker=False,
    )
    assert [model.name for model in models.local] == ["my/model", "local:dream"]
    found = models.find("local", "Dream.safetensors", from_here=False)
    assert (found.name, found.model_id, found.requires_safety_checker) == ("local:dream", "dream", False)
    assert found == models.named("local:dream")
    assert models.offered("local:dream") == models.offered("dream") == models.local[1]
    for name in ("mine", "main", "../Stable-diffusion/dream", str(folder / "dream.safetensors")):
        with pytest.raises(UnknownModel, match="This server has: my/model, dream"):
            models.find("local", name)
    (folder / "new").mkdir()
    (folder / "new" / "model_index.json").touch()
    (folder / "dream.safetensors").unlink()
    assert [model.label for model in models.local] == ["Mine", "new"]
    with pytest.raises(UnknownModel):
        models.named("local:dream")
