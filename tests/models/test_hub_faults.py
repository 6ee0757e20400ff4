"""What /health, a request and the log say where a model of the hub cannot be had, and how it goes on."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import MEMBER, STRANGER, FakeHub
from hub_app import UNET, App
from huggingface_hub import constants
from pydantic import SecretStr

from sd_api.models.check import find_further_faults
from sd_api.models.safety import CHECKER_REPO
from sd_api.settings import Settings

StartApp = Callable[..., App]

WRONG = "hf_wrong" + "W" * 20


@pytest.mark.parametrize(
    ("model", "token", "parts"),
    [
        ("demo/gated", None, ["is gated, and this server has no token", "huggingface.co/demo/gated", "into hf_token"]),
        ("demo/gated", STRANGER, ["is gated, and the account of the token in hf_token may not read it", "demo/gated"]),
        ("demo/gated", WRONG, ["refuses the token in hf_token (401: Invalid credentials", "settings/tokens"]),
        ("demo/tiny", WRONG, ["refuses the token in hf_token (401", "not gated need none"]),
        ("demo/tinny", None, ["no model demo/tinny", "or it is private", "Check the spelling", "none was sent"]),
        ("demo/tinny", MEMBER, ["no model demo/tinny", "the token in hf_token was sent"]),
        ("demo/disabled", None, ["demo/disabled was disabled"]),
        ("demo/single-file", None, ["demo/single-file is on", "has no model_index.json", "single .safetensors file"]),
        ("demo/video", None, ["demo/video is a model for StableVideoDiffusionPipeline", "does not run"]),
    ],
)
def test_the_one_reason_is_reported_with_the_way_out_and_no_token(
    start: StartApp,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    model: str,
    token: str | None,
    parts: list[str],
) -> None:
    message = start(model, hf_token=token).fail_to_load()
    assert [part for part in parts if part not in message] == []
    assert message in caplog.text
    said = message + "".join(capfd.readouterr()) + caplog.text
    assert not any(secret in said for secret in (MEMBER, STRANGER, WRONG))


def test_check_tells_the_same_without_downloading_the_model(
    make_settings: Callable[..., Settings], hub: FakeHub, cache: Path
) -> None:
    gated = make_settings(model="demo/gated", hf_token=STRANGER)
    (fault,) = find_further_faults(gated)
    assert fault.startswith("model: demo/gated is gated, and the account of the token")
    assert find_further_faults(gated.model_copy(update={"hf_token": SecretStr(MEMBER)})) == []
    assert hub.downloads(UNET) == 0


def test_a_login_of_the_machine_is_not_mistaken_for_the_configured_token(start: StartApp, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(WRONG, encoding="utf-8")
    message = start("demo/gated").fail_to_load()
    assert "refuses the login stored on this machine (hf auth login) (401" in message
    assert WRONG not in message


@pytest.mark.parametrize("model", ["demo/own-pipeline", "demo/community", "demo/own-part"])
def test_code_of_strangers_is_neither_run_nor_fetched(start: StartApp, hub: FakeHub, model: str) -> None:
    assert f"{model} needs Python code of its own" in start(model).fail_to_load()
    files = {request.split("/resolve/")[-1] for request in hub.requests if not request.startswith("GET /api/models/")}
    assert files == {"main/model_index.json"}


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("gone", ["demo/tiny is not on this machine yet", "hub at http://127.0.0.1", "Check the network"]),
        ("silence", ["cannot be reached (timed out)"]),
        (500, ["has trouble with demo/tiny (500: Internal Error)", "Try again in some minutes"]),
        (429, ["has trouble with demo/tiny (429"]),
        ("web page", ["http://127.0.0.1", "is not the Hugging Face hub, perhaps the login page of this network"]),
    ],
)
def test_a_hub_in_trouble_is_reported_soon_and_asked_again_by_the_next_request(
    start: StartApp, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, fault: int | str, parts: list[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    started = time.monotonic()
    if fault == "gone":
        with hub.gone():
            app = start()
            message = app.fail_to_load()
    else:
        hub.fault = fault
        app = start()
        message = app.fail_to_load()
        hub.fault = None
    # Two attempts, one at the start and one for the request.
    assert time.monotonic() - started < 8
    assert [part for part in parts if part not in message] == []
    app.succeed()


def test_a_hub_that_breaks_down_in_between(start: StartApp, hub: FakeHub) -> None:
    hub.fault, hub.fault_at = 500, "/revision/"
    app = start()
    message = app.fail_to_load()
    assert "demo/tiny is not on this machine yet" in message
    assert "did not arrive" in message
    hub.fault = None
    app.succeed()


def test_a_name_that_does_not_resolve(start: StartApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-hub.invalid")
    assert "the Hugging Face hub at http://no-such-hub.invalid cannot be reached" in start().fail_to_load()


def test_offline_mode(start: StartApp, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    app = start()
    message = app.fail_to_load()
    assert "demo/tiny is not on this machine yet" in message
    assert "HF_HUB_OFFLINE forbids to download it. Unset it." in message
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    app.succeed()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start().succeed()


@pytest.fixture
def small_disk(cache: Path) -> Iterator[Path]:
    """The cache on a disk of its own, of one megabyte."""
    cache.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", cache], check=False)
    if mounting.returncode != 0:
        pytest.skip("this user may not mount a disk")
    yield cache
    # Lazily: loaded weights are mapped from there.
    subprocess.run(["umount", "--lazy", cache], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
def test_a_full_disk(start: StartApp, hub: FakeHub, small_disk: Path) -> None:
    app = start()
    message = app.fail_to_load()
    assert f"The disk is full, so demo/tiny could not be downloaded to {small_disk}" in message
    assert "HF_HOME" in message
    assert hub.downloads(UNET) == 0
    subprocess.run(["mount", "-o", "remount,size=9m", small_disk], check=True)
    app.succeed()


def test_a_cache_that_cannot_be_written(start: StartApp, cache: Path) -> None:
    cache.write_text("a file in its place", encoding="utf-8")
    message = start().fail_to_load()
    assert f"demo/tiny could not be downloaded to {cache} ([Errno " in message


def test_without_the_published_checker_the_failure_says_how_to_do_without_it(
    start: StartApp, hub: FakeHub, single_file: str
) -> None:
    with hub.gone():
        app = start(single_file)
        message = app.fail_to_load()
        for part in (
            "no safety checker of its own",
            'set "requires_safety_checker": false',
            f"{CHECKER_REPO} is not on this machine yet",
            "cannot be reached",
        ):
            assert part in message
        start(single_file, requires_safety_checker=False).succeed()
    app.succeed()
