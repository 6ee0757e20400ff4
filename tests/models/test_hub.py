"""Models of the hub: downloaded once, whole, and used from then on without asking the hub."""

import os
import re
import shutil
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import safetensors.torch
from fake_hub import MEMBER, FakeHub, Repository
from hub_app import TINY, UNET, App, changed
from huggingface_hub import constants
from requested import request
from running import generate, serve
from server_process import ServerProcess

from sd_api.errors import JobCancelled
from sd_api.jobs.job import Job
from sd_api.models.check import find_further_faults
from sd_api.models.hub import cached
from sd_api.models.safety import CHECKER_REPO
from sd_api.settings import Settings
from sd_api.wiring import build_engine

StartApp = Callable[..., App]
StartServer = Callable[..., ServerProcess]


@pytest.mark.parametrize("model", ["demo/half", "demo/pickled"])
def test_weights_of_every_kind_are_downloaded_and_used(start: StartApp, model: str) -> None:
    start(model).succeed()


def test_a_gated_model_with_the_right_token(start: StartApp, capfd: pytest.CaptureFixture[str], caplog: Any) -> None:
    start("demo/gated", hf_token=MEMBER).succeed()
    assert MEMBER not in "".join(capfd.readouterr()) + caplog.text


def test_the_removed_model_leads_to_its_successor(start: StartApp, hub: FakeHub) -> None:
    start("runwayml/stable-diffusion-v1-5").succeed()
    assert hub.downloads(UNET) == 1
    assert not any("runwayml" in request for request in hub.requests)


def test_a_model_that_is_too_large_is_not_downloaded(start: StartApp, hub: FakeHub) -> None:
    limits = {"max_model_bytes": 3_000_000}
    reason = "demo/tiny has at least 3.7 MB, and 3.0 MB are allowed. limits.max_model_bytes in the configuration"
    assert start(limits=limits).fail_to_load().startswith(reason)
    assert hub.downloads(UNET) == 0
    (fault,) = find_further_faults(Settings.model_validate({"model": "demo/tiny", "limits": limits, "device": "cpu"}))
    assert fault.startswith(f"model: {reason}")


def test_a_download_ends_at_the_limit_where_the_hub_states_no_sizes(
    start: StartApp, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.states_sizes = False
    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    app = start(limits={"max_model_bytes": 1_000_000})
    assert "MB, and 1.0 MB are allowed" in app.health()["message"]
    assert list(cache.rglob("*.incomplete")) == []
    assert cached("demo/tiny", half=False) is None
    start().succeed()


@pytest.mark.usefixtures("cache")
def test_a_model_is_not_downloaded_on_once_nobody_waits_for_it(
    hub: FakeHub, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(changed: Job) -> None:
        progress = changed.status().progress
        if progress is not None and progress.phase == "downloading":
            changed.cancel("Not wanted.")

    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    engine = build_engine(make_settings(model="demo/tiny"))
    engine.load()
    wanted = request(model="huggingface:demo/no-checker")
    job = Job(wanted)
    job.listen(cancel)
    serve(engine, [job])
    with pytest.raises(JobCancelled, match="Not wanted"):
        job.result()
    assert cached("demo/no-checker", half=False) is None
    assert engine.status().state == "ready"
    assert generate(engine, wanted).images


def test_what_is_in_the_cache_is_used_without_asking_anybody(start: StartApp, hub: FakeHub) -> None:
    start().succeed()
    hub.requests.clear()
    start().succeed()
    assert hub.requests == []
    with hub.gone():
        start().succeed()


def test_only_what_is_needed_is_downloaded(start: StartApp, hub: FakeHub) -> None:
    extra = ("model.ckpt", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin")
    hub.repositories["demo/tiny"] = Repository({**TINY.files, **dict.fromkeys(extra, b"much")})
    start().succeed()
    assert [hub.downloads(name) for name in (*extra, "README.md", UNET)] == [0, 0, 0, 0, 1]


def test_half_precision_downloads_half_as_much_and_full_precision_the_rest(start: StartApp, hub: FakeHub) -> None:
    half = UNET.replace(".safetensors", ".fp16.safetensors")
    # Other bytes than the other file's: the cache keeps what is equal once only.
    weights = safetensors.torch.save(safetensors.torch.load(TINY.files[UNET]), {"format": "pt", "precision": "half"})
    hub.repositories["demo/both"] = Repository({**TINY.files, half: weights})
    start("demo/both", dtype="bf16").succeed()
    assert [hub.downloads(name) for name in (half, UNET)] == [1, 0]
    start("demo/both", dtype="fp32").succeed()
    assert [hub.downloads(name) for name in (half, UNET)] == [1, 1]
    hub.requests.clear()
    for dtype in ("bf16", "fp32"):
        start("demo/both", dtype=dtype).succeed()
    assert hub.requests == []


def test_full_precision_that_is_there_serves_half_precision_too(start: StartApp, hub: FakeHub) -> None:
    start(dtype="fp32").succeed()
    hub.requests.clear()
    start(dtype="bf16").succeed()
    assert hub.requests == []


def test_a_broken_off_download_goes_on_where_it_stopped(
    start: StartApp, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What came after the last whole chunk is lost, and these files are smaller than one.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.break_off = {UNET}
    start().succeed()
    assert hub.resumed == [UNET]


def test_a_cache_that_lacks_files_is_completed(start: StartApp, hub: FakeHub, cache: Path) -> None:
    start().succeed()
    (snapshot,) = cache.glob("models--demo--tiny/snapshots/*")
    # The model loads without this one too, and reads prompts in another way.
    (snapshot / "tokenizer" / "special_tokens_map.json").unlink()
    start().succeed()
    assert (snapshot / "tokenizer" / "special_tokens_map.json").is_file()


def test_a_cache_that_other_programs_filled_in_part_is_completed(start: StartApp, cache: Path) -> None:
    start().succeed()
    (snapshot,) = cache.glob("models--demo--tiny/snapshots/*")
    shutil.rmtree(snapshot.parents[1] / "trees")
    start().succeed()
    shutil.rmtree(snapshot / "vae")
    start().succeed()


def test_a_model_without_a_checker_gets_the_published_one(start: StartApp, hub: FakeHub, single_file: str) -> None:
    start(single_file).succeed()
    assert hub.downloads("pytorch_model.bin") == 0
    hub.requests.clear()
    start(single_file).succeed()
    assert hub.requests == []


def test_a_published_checker_of_which_files_are_missing_is_completed(start: StartApp, cache: Path) -> None:
    start("demo/no-checker").succeed()
    (snapshot,) = cache.glob(f"models--{CHECKER_REPO.replace('/', '--')}/snapshots/*")
    (snapshot / "preprocessor_config.json").unlink()
    start("demo/no-checker").succeed()


@pytest.mark.parametrize("index", [{"_class_name": ["pipeline", "Mine"]}, {"unet": ["mine", "Mine"]}])
def test_code_in_a_folder_of_the_users_own_is_not_run(start: StartApp, tmp_path: Path, index: dict[str, Any]) -> None:
    evil = b"raise SystemExit('code of a stranger ran')"
    for name, content in changed(index, pipeline=evil, unet__mine=evil).files.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(content)
    state = start(str(tmp_path / "mine")).health()
    assert state["status"] == "failed"
    assert str(tmp_path / "mine") in state["message"]


def test_a_terminal_shows_one_bar_and_nothing_else_of_the_library(
    start: StartApp, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    hub.break_off = {UNET}
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as screen, open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        start().health()
        terminal.write("end")
        terminal.flush()
        shown = b""
        while not shown.endswith(b"end"):
            shown += screen.read(10_000)
    # What stays on the screen of lines that were written over and over.
    lines = [line.split("\r")[-1] for line in shown.decode().split("\r\n")]
    assert lines[0].startswith("Downloading: 100%|")
    assert "3.65M/3.65M [" in lines[0]
    assert {line.split(":")[0] for line in lines[1:]} <= {"Loading pipeline components...", "", "end"}


def test_a_server_that_was_stopped_while_downloading_goes_on_at_its_next_start(
    start_server: StartServer, hub: FakeHub, tmp_path: Path
) -> None:
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    hub.stall = {UNET}
    server = start_server(model="demo/tiny", environment=environment)
    assert hub.stalled.wait(60)
    time.sleep(0.5)  # for the other files
    download = requests.get(f"{server.url}/health", timeout=10).json()["download"]
    assert 0 <= download["bytes"] < download["total_bytes"]
    assert server.stop() == 0
    assert list(tmp_path.rglob("*.incomplete")) != []

    hub.break_off = {UNET}
    server = start_server(model="demo/tiny", environment=environment)
    server.wait_until("ready")
    server.stop()
    assert hub.downloads(UNET) == 3
    assert hub.downloads("text_encoder/model.safetensors") == 1
    assert list(tmp_path.rglob("*.incomplete")) == []
    # No library sends telemetry: every request is for the model.
    assert all("demo/tiny" in request for request in hub.requests)
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in server.output.splitlines()), server.output
    assert "Downloading demo/tiny" in server.output
