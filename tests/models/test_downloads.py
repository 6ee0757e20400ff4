"""Models are downloaded while the server serves, and are there without a restart."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_hub import FakeHub
from flask.testing import FlaskClient

from sd_api.app import create_app
from sd_api.errors import NotEnabled, QueueFull, UnknownDownload
from sd_api.models import downloads
from sd_api.models.catalog import DOCUMENTED_DEFAULT
from sd_api.models.download_progress import DownloadWatcher
from sd_api.models.downloads import DownloadStatus, ModelDownloads
from sd_api.models.sources import HubModel
from sd_api.settings import Settings
from sd_api.wiring import build_services

ELSEWHERE = {"REMOTE_ADDR": "10.0.0.2"}
FORM = {"prompt": "a dog", "width": "64", "height": "64", "wait": "false"}
ANN, BOB, CAT = "user:ann", "user:bob", "user:cat"


@pytest.fixture
def client(
    make_settings: Callable[..., Settings], cache: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    """The application over the small hub, with a main model on this machine that is not loaded."""
    monkeypatch.setattr("sd_api.models.download_progress.REPORT_INTERVAL", 0.0)
    settings = make_settings()
    services = build_services(settings)
    yield create_app(settings, services).test_client()
    services.downloads.stop(timeout=10)


def ended(client: FlaskClient) -> dict[str, Any]:
    """The latest download, once it has ended."""
    deadline = time.monotonic() + 60
    while (latest := client.get("/downloads").get_json()["downloads"][-1])["state"] in ("waiting", "downloading"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found: dict[str, Any] = latest
    return found


def names(client: FlaskClient, **options: Any) -> list[str | None]:
    return [model["url_path"] for model in client.get("/models", **options).get_json()["models"]]


def test_a_model_is_downloaded_and_offered(client: FlaskClient, hub: FakeHub) -> None:
    before = names(client)
    begun = client.post("/downloads/demo/tiny")
    assert (begun.status_code, begun.get_json()["download"]["model_id"]) == (202, "demo/tiny")
    complete = ended(client)
    assert (complete["state"], complete["message"]) == ("complete", None)
    assert complete["bytes"] == complete["total_bytes"] > 3_000_000
    assert complete["url_path"] == "huggingface:demo/tiny"
    assert names(client) == [*before, "huggingface:demo/tiny"]
    assert client.post("/custom/huggingface:demo/tiny", data=FORM).status_code == 202
    estimated = client.post("/estimate", data=FORM | {"url_path": "huggingface:demo/tiny"}).get_json()["estimate"]
    assert estimated["memory"]["disk"] == complete["bytes"]
    hub.requests.clear()
    client.post("/downloads/demo/tiny")
    assert ended(client)["state"] == "complete"
    assert hub.requests == [], "what is complete is not asked for again"
    # Those of other computers may name no model of the hub here.
    elsewhere: dict[str, Any] = {"environ_overrides": ELSEWHERE}
    assert names(client, **elsewhere) == before
    assert client.get("/downloads", **elsewhere).get_json()["downloads"] == []
    assert client.delete("/downloads/demo/tiny", **elsewhere).status_code == 404
    refused = client.post("/downloads/demo/tiny", **elsewhere)
    assert (refused.status_code, "any_model" in refused.get_json()["message"]) == (404, True)
    assert client.post("/custom/huggingface:demo/tiny", data=FORM, **elsewhere).status_code == 404
    assert client.delete("/downloads/demo/tiny").status_code == 200
    assert client.get("/downloads").get_json()["downloads"] == []


def test_what_cannot_be_downloaded_says_why(client: FlaskClient, hub: FakeHub) -> None:
    assert "no name of a model" in client.post("/downloads/no such/model").get_json()["message"]
    foreign = client.post("/downloads/demo/tiny", headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    # A request that names it means the main model, so who may not name others does not fetch it by that name.
    default = client.post(f"/downloads/{DOCUMENTED_DEFAULT}", environ_overrides=ELSEWHERE)
    assert (default.status_code, "means the main model" in default.get_json()["message"]) == (404, True)
    client.post("/downloads/demo/absent")
    failed = ended(client)
    assert (failed["state"], failed["model_id"]) == ("failed", "demo/absent")
    assert failed["message"].startswith("There is no model demo/absent on the Hugging Face hub")
    assert "--demo" not in failed["message"]
    hub.repositories["demo/absent"] = hub.repositories["demo/tiny"]
    client.post("/downloads/demo/absent")
    assert ended(client)["state"] == "complete"


class Hub:
    """Downloads that go on until they are let go, or are not wanted any more."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.begun: list[str] = []
        self.ended: list[str] = []

    def pull(self, source: HubModel, note: DownloadWatcher) -> int:
        self.begun.append(source.repo_id)
        arrived = 0
        try:
            while not self.let_go.wait(0.002):
                arrived = min(arrived + 1, 900)
                note(arrived, 1000)
        finally:
            self.ended.append(source.repo_id)
        return 1000


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def state_of(found: ModelDownloads, owner: str, model_id: str) -> DownloadStatus:
    return next(status for status in found.of(owner) if status.model_id == model_id)


def test_few_run_at_once_and_each_goes_on_while_an_owner_wants_it() -> None:
    hub = Hub()
    running = ModelDownloads(hub.pull)
    for number in range(downloads.MAX_OF_OWNER):
        running.start(HubModel(f"a/{number}"), ANN)
    with pytest.raises(QueueFull, match="for you"):
        running.start(HubModel("a/last"), ANN)
    for number in range(downloads.MAX_UNFINISHED - downloads.MAX_OF_OWNER):
        running.start(HubModel(f"c/{number}"), CAT)
    until(lambda: (state_of(running, ANN, "a/1").seconds_left or 0) > 0)
    states = [status.state for status in running.of(ANN)]
    assert states == ["downloading"] * 2 + ["waiting"] * (downloads.MAX_OF_OWNER - 2)
    with pytest.raises(QueueFull, match="Try again later"):
        running.start(HubModel("a/last"), BOB)
    assert running.start(HubModel("a/0"), BOB).model_id == "a/0"
    running.remove("a/0", ANN)
    assert [status.state for status in running.of(BOB)] == ["downloading"]
    with pytest.raises(UnknownDownload, match="'a/0'"):
        running.remove("a/0", ANN)
    # The next one begins in its place.
    running.remove("a/0", BOB)
    until(lambda: state_of(running, ANN, "a/2").state == "downloading")
    # One that waits never begins.
    running.remove("a/3", ANN)
    hub.let_go.set()
    until(lambda: {status.state for status in running.of(ANN)} == {"complete"})
    assert "a/3" not in hub.begun
    running.stop(timeout=10)


def test_downloads_that_are_stopped_count_until_they_have() -> None:
    hub_answers, begun = threading.Event(), threading.Semaphore(0)

    def wait_for_hub(_source: HubModel, _note: DownloadWatcher) -> int:
        begun.release()
        hub_answers.wait()
        return 1

    running = ModelDownloads(wait_for_hub)
    for number in range(2):
        running.start(HubModel(f"a/{number}"), ANN)
        assert begun.acquire(timeout=10)
        running.remove(f"a/{number}", ANN)
    # One that waits leaves its place at once, one that runs does so later.
    for number in range(50):
        running.start(HubModel(f"waits/{number}"), ANN)
        running.remove(f"waits/{number}", ANN)
    # Two of the eight have not stopped.
    owners = [ANN] * downloads.MAX_OF_OWNER + [CAT] * 2
    started = [running.start(HubModel(f"b/{number}"), owner) for number, owner in enumerate(owners)]
    assert {status.state for status in started} == {"waiting"}
    with pytest.raises(QueueFull):
        running.start(HubModel("b/last"), BOB)
    hub_answers.set()
    until(lambda: {status.state for status in running.of(ANN)} == {"complete"})
    running.stop(timeout=10)


def test_a_server_that_stops_stops_its_downloads() -> None:
    hub = Hub()
    running = ModelDownloads(hub.pull)
    for number in range(3):
        running.start(HubModel(f"a/{number}"), ANN)
    until(lambda: len(hub.begun) == 2)
    running.stop(timeout=10)
    assert len(hub.ended) == len(hub.begun) == 2
    assert running.of(ANN) == []


def test_models_of_a_cluster_are_not_downloaded_here() -> None:
    elsewhere = ModelDownloads(None)
    with pytest.raises(NotEnabled, match="workers"):
        elsewhere.start(HubModel("a/b"), ANN)
    assert elsewhere.of(ANN) == []
