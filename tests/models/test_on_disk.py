"""Models are downloaded without a server, listed with size and last use, and removed."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_hub import FakeHub
from huggingface_hub import constants
from tiny_model import tiny_model

from sd_api import commands, server
from sd_api.errors import JobCancelled
from sd_api.models import hub as hub_cache
from sd_api.models.check import look_further
from sd_api.models.on_disk import bytes_on_disk, complete_models, configured_models, stored_models
from sd_api.models.sources import HubModel, ModelFile
from sd_api.settings import Settings

Call = Callable[..., Result]


@pytest.fixture
def call(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call ``python server.py`` in this process, with the small hub as the hub."""
    # The log stays pytest's.
    monkeypatch.setattr(server, "configure_logging", lambda: lambda: None)
    config = tmp_path / "config.json"
    config.write_text('{"device": "cpu", "dtype": "fp32"}', encoding="utf-8")

    def call(*arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(server.main, ["--config", str(config), *arguments], input=answer)

    return call


def test_a_model_is_downloaded_listed_and_removed(call: Call, hub: FakeHub) -> None:
    assert call("models").output == "0 models, 0.0 MB\n"
    done = call("pull", "demo/tiny")
    assert (done.exit_code, done.output.split(":")[0]) == (0, "demo/tiny is complete"), done.output
    hub.requests.clear()
    assert call("pull", "demo/tiny").exit_code == 0
    assert hub.requests == [], "what is complete is not asked for again"
    listed = call("models").output.splitlines()
    assert listed[0].split() == ["demo/tiny", "3.7", "MB", "used", time.strftime("%Y-%m-%d"), "complete"]
    assert len(listed[0]) == 80
    assert listed[1] == "1 models, 3.7 MB"
    (model,) = stored_models()
    assert bytes_on_disk(HubModel("demo/tiny")) == model.bytes > 3_000_000
    assert call("models", "remove", "demo/tiny", answer="n\n").exit_code == 1
    assert stored_models() == [model]
    done = call("models", "remove", "demo/tiny", answer="y\n")
    assert done.output.splitlines()[-1] == "demo/tiny is deleted: 3.7 MB are free again"
    assert stored_models() == []
    assert bytes_on_disk(HubModel("demo/tiny")) is None


def test_a_download_that_was_broken_off_goes_on_within_its_file(
    call: Call, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    with monkeypatch.context() as interrupted:
        # As Ctrl-C after a million bytes.
        interrupted.setattr(commands, "_report", lambda: _stop_after(1_000_000))
        done = call("pull", "demo/tiny")
    assert (done.exit_code, done.output) == (130, "Stopped. The same command goes on where this one was broken off.\n")
    (part,) = stored_models()
    assert not part.complete
    assert part.bytes > 900_000
    assert call("models").output.splitlines()[0].endswith(" in part")
    assert hub.resumed == []
    assert call("pull", "demo/tiny").exit_code == 0
    assert hub.resumed, "of a file that came in part, only the rest is asked for"
    assert stored_models()[0].complete


@pytest.mark.usefixtures("cache")
def test_models_of_the_configuration_are_listed(make_settings: Callable[..., Settings], single_file: str) -> None:
    custom = {"model_path": single_file, "ui_label": "One", "url_path": "one"}
    again = {"model_path": str(tiny_model()), "ui_label": "Two", "url_path": "two"}
    found = configured_models(
        make_settings(model="demo/tiny", custom_models=[custom, again, again | {"url_path": "3"}])
    )
    assert [(model.repo_id, model.complete) for model in found] == [(single_file, True), (str(tiny_model()), True)]
    assert found[0].bytes == Path(single_file).stat().st_size


def test_a_model_of_the_cache_is_looked_at_again_once_it_has_changed(
    call: Call, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("pull", "demo/tiny").exit_code == 0
    looks: list[str] = []

    def cached(repo_id: str, *, half: bool) -> Path | None:
        looks.append(repo_id)
        return look(repo_id, half=half)

    look = hub_cache.cached
    monkeypatch.setattr("sd_api.models.on_disk.hub.cached", cached)
    # Not with the beginning of a minute between them.
    monkeypatch.setattr("sd_api.models.on_disk.time.monotonic", lambda: 1.0)
    complete_models()
    looks.clear()
    assert [complete_models() for _ in range(3)] == [["demo/tiny"]] * 3
    assert looks == []
    (blobs,) = Path(constants.HF_HUB_CACHE).glob("models--demo--tiny/blobs")
    largest = max(blobs.iterdir(), key=lambda file: file.stat().st_size)
    largest.rename(part := largest.with_suffix(".incomplete"))
    assert complete_models() == []
    part.rename(largest)
    assert complete_models() == ["demo/tiny"]
    assert len(looks) == 2
    # A list of files that another program has damaged counts as none: then the files themselves are looked at.
    damaged = shutil.copytree(blobs.parent, blobs.parent.with_name("models--demo--damaged"), symlinks=True)
    (listed,) = (damaged / "trees").iterdir()
    for content in ("[]", "{", '{"files": 3}', "\0"):
        listed.write_text(content, encoding="utf-8")
        assert hub_cache.cached("demo/damaged", half=True) is not None
    assert complete_models() == ["demo/damaged", "demo/tiny"]
    next((damaged / "blobs").iterdir()).unlink()
    assert hub_cache.cached("demo/damaged", half=True) is None


def _stop_after(limit: int) -> Callable[[int, int], None]:
    def report(arrived: int, _total: int) -> None:
        if arrived > limit:
            raise JobCancelled("Ctrl-C")

    return report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "no such/model"), "no name of a model"),
        (("pull", "demo/absent"), "demo/absent"),
        (("models", "remove", "demo/absent", "--yes"), "demo/absent is not in"),
    ],
)
def test_what_cannot_be_done_is_explained(call: Call, arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output


@pytest.mark.usefixtures("cache")
def test_a_check_says_what_is_to_come_and_how_models_run(
    make_settings: Callable[..., Settings], single_file: str
) -> None:
    custom = {"model_path": single_file, "ui_label": "One", "url_path": "one", "memory": "low"}
    found = look_further(make_settings(model="demo/tiny", custom_models=[custom]))
    assert found.faults == []
    assert found.plans[0].startswith("model: 3.7 MB are to be downloaded")
    assert found.plans[1].startswith(
        f"custom_models[0]: {Path(single_file).stat().st_size / 1e6:.1f} MB on the disk; fp32, "
    )
    assert '; "memory": "low" is configured' in found.plans[1]
    assert "attention" in found.plans[1]
    assert bytes_on_disk(ModelFile(Path("/nowhere.safetensors"))) is None
