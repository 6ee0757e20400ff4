"""LoRAs of the hub: named by a repository's id where the configuration allows it, downloaded once, refused clearly."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_hub import FakeHub, Repository
from huggingface_hub import hf_hub_download
from requested import request
from running import generate, serve
from tiny_families import sd
from tiny_loras import save_lora

from sd_api.errors import JobCancelled, OutOfLimits
from sd_api.generation.engine import EngineStatus, PlannedModel, Progress
from sd_api.generation.operations import TextToImage
from sd_api.jobs.estimates import estimate
from sd_api.jobs.job import Job
from sd_api.jobs.queue import Forecast
from sd_api.models.adapters.hashes import written_hashes
from sd_api.models.adapters.hub_loras import HubLoras, cached_lora
from sd_api.models.catalog import ModelCatalog
from sd_api.models.components import Parts
from sd_api.models.folders import LORA, ModelFolders
from sd_api.prompting.prompt import Lora
from sd_api.settings import Limits, Settings
from sd_api.wiring import build_engine

pytestmark = pytest.mark.usefixtures("cache")


@cache
def pipeline() -> Any:
    return sd()


@cache
def content() -> bytes:
    with TemporaryDirectory() as folder:
        return save_lora(Path(folder) / "style.safetensors", pipeline(), 6, ("unet",)).read_bytes()


@pytest.fixture
def parts_of(make_settings: Callable[..., Settings]) -> Callable[..., Parts]:
    def made(*folders: Path, **settings: Any) -> Parts:
        hub = HubLoras(make_settings(**settings))
        there = ModelFolders({LORA: folders})
        return Parts(pipeline(), torch.device("cpu"), lambda _: None, folders=there, hub=hub)

    return made


def found(parts: Parts, name: str) -> Path:
    (each,) = parts.loras.find({"prompt": [Lora(name)]})
    return each.file.path


def refusal(parts: Parts, name: str) -> str:
    with pytest.raises(OutOfLimits) as caught:
        found(parts, name)
    assert caught.value.field == "prompt"
    return caught.value.problem


@pytest.mark.parametrize(
    ("name", "file", "settings"),
    [
        ("demo/style", "style.safetensors", {"allowed_models": ["demo/style"]}),
        ("demo/style", "pytorch_lora_weights.safetensors", {"any_model": True}),
        ("demo/style/old/one [v1]*", "old/one [v1]*.safetensors", {"any_model": True}),
    ],
)
def test_one_is_downloaded_once_and_acts(
    hub: FakeHub, parts_of: Callable[..., Parts], name: str, file: str, settings: dict[str, Any]
) -> None:
    others = {} if file == "style.safetensors" else {"another.safetensors": b"?"}
    hub.repositories["demo/style"] = Repository({"README.md": b"#", "style.bin": b"pickled", file: content(), **others})
    parts = parts_of(**settings)
    assert found(parts, name).read_bytes() == content()
    assert parts.loras.components
    # A server that begins anew finds it in the cache.
    with hub.gone():
        again = parts_of(**settings)
        found(again, name)
        hashes = written_hashes(ModelFolders(), asked(f"a dog <lora:{name}>"))
    assert hashes["Lora hashes"].startswith(f"{name}: ")
    assert (hub.downloads(file), hub.downloads("style.bin"), hub.downloads("another.safetensors")) == (1, 0, 0)


def asked(prompt: str) -> TextToImage:
    return TextToImage(prompt=prompt, steps=1, guidance=1.0, width=64, height=64, limits=Limits())


def test_nothing_is_asked_of_the_hub_without_permission(
    hub: FakeHub, parts_of: Callable[..., Parts], tmp_path: Path
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "style.safetensors").write_bytes(content())
    parts = parts_of(tmp_path, allowed_models=["demo/other"])
    assert found(parts, "demo/style") == tmp_path / "demo" / "style.safetensors"
    assert "there are: demo/style; demo/further of the hub may not be used" in refusal(parts, "demo/further")
    for name in ("further", "../demo/style", "/etc/passwd", "demo/", "demo/..", "a/b/../../c"):
        refusal(parts, name)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("demo/none", None, "There is no model demo/none"),
        (
            "demo/two",
            {"a.safetensors": b"", "b.safetensors": b""},
            "does not have exactly one LoRA; name a file behind",
        ),
        ("demo/two/c", {"a.safetensors": b"", "b.safetensors": b""}, "has no file c. Its .safetensors files: a.safe"),
        ("demo/pickled", {"style.bin": b"", "style.pt": b""}, "Its .safetensors files: none"),
        ("demo/broken", {"style.safetensors": b"no header"}, "whose file cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused(
    hub: FakeHub, parts_of: Callable[..., Parts], name: str, files: dict[str, bytes] | None, words: str
) -> None:
    if files is not None:
        hub.repositories["/".join(name.split("/")[:2])] = Repository(files)
    assert words in refusal(parts_of(any_model=True), name)


def test_a_hub_that_is_away_is_said_and_asked_again(
    hub: FakeHub, parts_of: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["demo/style"] = Repository({"style.safetensors": content()})
    parts = parts_of(any_model=True)
    with hub.gone():
        problem = refusal(parts, "demo/style")
        assert "cannot be reached" in problem
        assert problem.endswith("Check the network and try again")
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE forbids" in refusal(parts, "demo/style")
    large = parts_of(any_model=True, limits={"max_model_bytes": 1024})
    assert "are allowed. limits.max_model_bytes" in refusal(large, "demo/style")
    assert found(parts, "demo/style")


def test_what_another_program_has_downloaded_needs_no_network(hub: FakeHub, parts_of: Callable[..., Parts]) -> None:
    """It stores no list of what the repository has, so an id alone may mean another file."""
    hub.repositories["demo/style"] = Repository({"one.safetensors": content(), "two.safetensors": content()})
    hf_hub_download("demo/style", "one.safetensors")
    parts = parts_of(any_model=True)
    with hub.gone():
        assert found(parts, "demo/style/one").read_bytes() == content()
        assert cached_lora("demo/style") is None
        for name in ("demo/style/two", "demo/style/../one", "demo/other"):
            assert cached_lora(name) is None


def test_an_estimate_counts_what_is_in_the_cache_and_asks_nothing_of_the_hub(
    hub: FakeHub, make_settings: Callable[..., Settings]
) -> None:
    hub.repositories["demo/style"] = Repository({"pytorch_lora_weights.safetensors": b"x" * 600})
    hf_hub_download("demo/style", "pytorch_lora_weights.safetensors")
    hub.requests.clear()
    model = ModelCatalog(make_settings(any_model=True)).main
    runs = PlannedModel(model=model.label, bytes=10, peak=1000, seen=0, more_seen=0, reasons=())
    queue: Any = SimpleNamespace(
        status=lambda: EngineStatus("ready", model.label, planned=(runs,)),
        forecast=lambda _spec, _flops: Forecast(None, 0.0),
    )
    taken = [
        estimate(queue, request(prompt=f"a dog <lora:{name}>"), model, ModelFolders()).memory.device
        for name in ("demo/style", "demo/none", "../style", "demo/style/none", "none", "démo/style", "a/" * 400)
    ]
    assert taken == [1600, *[1000] * 6]
    assert hub.requests == []


class Unwanted(Job):
    """A job that is cancelled once something is downloaded for it."""

    def report(self, progress: Progress) -> None:
        if progress.phase == "downloading":
            self.cancel("Not wanted.")
        super().report(progress)


def test_one_is_not_downloaded_on_once_nobody_waits_for_it(
    hub: FakeHub, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    hub.repositories["demo/style"] = Repository({"style.safetensors": content()})
    engine = build_engine(make_settings(any_model=True))
    engine.load()
    job = Unwanted(request(prompt="a dog <lora:demo/style>"))
    serve(engine, [job])
    with pytest.raises(JobCancelled, match=r"Not wanted\."):
        job.result()
    assert cached_lora("demo/style") is None
    assert generate(engine, request()).images
