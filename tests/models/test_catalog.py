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
    with pytest.raises(UnknownModel, match="The configuration has: my/model"):
        catalog(custom_models=models).find("local", str(tmp_path))


def test_by_default_only_clients_on_this_computer_name_any_model() -> None:
    models = catalog(any_model=None, allowed_models=["a/b"])
    assert models.find("huggingface", "c/d").source == HubModel("c/d")
    with pytest.raises(UnknownModel, match="Allowed are: a/b"):
        models.find("huggingface", "c/d", from_here=False)
    for model_id in ("a/b", "owner/main", DOCUMENTED_DEFAULT, None):
        assert models.find("huggingface", model_id, from_here=False)
    assert catalog(any_model=True).find("huggingface", "c/d", from_here=False)
