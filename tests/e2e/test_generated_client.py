"""A client that openapi-python-client makes of the committed description, against a real server."""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pictures import from_base64, photograph, png
from PIL import Image
from server_process import ServerProcess

CREDENTIALS = {"username": "ann", "password": "correct horse battery staple"}


class Generated:
    """The generated package, its parts by name."""

    def __init__(self, package: str) -> None:
        self._package = package

    def endpoint(self, tag: str, name: str) -> Any:
        """The module of an endpoint: ``sync`` gives what was parsed, ``sync_detailed`` the whole answer."""
        return importlib.import_module(f"{self._package}.api.{tag}.{name}")

    def model(self, name: str) -> Any:
        return getattr(importlib.import_module(f"{self._package}.models"), name)

    def part(self, module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"{self._package}.{module}"), name)


@pytest.fixture(scope="module")
def generated(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    scripts = Path(sys.executable).parent
    command = [str(scripts / "openapi-python-client"), "generate", "--fail-on-warning", "--meta", "none"]
    command += ["--path", str(repository / "docs" / "openapi.yml"), "--output-path", str(folder / "generated_client")]
    # It formats what it wrote with ruff.
    environment = {**os.environ, "PATH": os.pathsep.join([str(scripts), os.environ.get("PATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Generated("generated_client")


@pytest.fixture(scope="module")
def server(fork_server: Any) -> ServerProcess:
    started: ServerProcess = fork_server(enable_signup=True)
    started.wait_until("ready")
    return started


@pytest.fixture(scope="module")
def stranger(generated: Generated, server: ServerProcess) -> Iterator[Any]:
    """A client without a token, which an answer that is not described would make fail."""
    with generated.part("client", "Client")(base_url=server.url, raise_on_unexpected_status=True) as client:
        yield client


@pytest.fixture(scope="module")
def ann(generated: Generated, server: ServerProcess, stranger: Any) -> Iterator[Any]:
    """A client of somebody who has signed up and logged in."""
    credentials = generated.model("Credentials")(**CREDENTIALS)
    assert generated.endpoint("accounts", "sign_up").sync(client=stranger, body=credentials).username == "ann"
    token = generated.endpoint("accounts", "log_in").sync(client=stranger, body=credentials)
    make = generated.part("client", "AuthenticatedClient")
    with make(base_url=server.url, token=token.access_token, raise_on_unexpected_status=True) as client:
        yield client


def last_event(generated: Generated, client: Any, task_id: str, kind: str) -> Any:
    """The last event of a task once it is of a kind."""
    deadline = time.monotonic() + 60
    while type(event := generated.endpoint("tasks", "last_event").sync(task_id, client=client)).__name__ != kind:
        assert time.monotonic() < deadline, event
        time.sleep(0.02)
    return event


def test_a_task_from_its_parameters_to_its_picture_and_another_from_that(generated: Generated, ann: Any) -> None:
    parameters = generated.model("Txt2ImgParams")(prompt="a dog", steps=2, width=64, height=64, seed=5)
    task_id = generated.endpoint("tasks", "create_task").sync(client=ann, body=parameters)
    event = last_event(generated, ann, task_id, "FinishedEvent")
    used = event.image.parameters_used
    assert (type(used).__name__, used.seed, used.steps, used.scheduler.value) == ("Txt2ImgParams", 5, 2, "plms")

    content = generated.endpoint("blobs", "download_blob").sync(event.image.blob_id, client=ann).payload.read()
    assert Image.open(BytesIO(content)).size == (64, 64)

    # Its kind need not be named: it is the model's.
    parameters = generated.model("Img2ImgParams")(prompt="a cat", initial_image=event.image.blob_id, steps=4)
    task_id = generated.endpoint("tasks", "create_task").sync(client=ann, body=parameters)
    used = last_event(generated, ann, task_id, "FinishedEvent").image.parameters_used
    assert (type(used).__name__, used.initial_image, used.strength) == ("Img2ImgParams", event.image.blob_id, 0.8)
    listed = generated.endpoint("tasks", "list_tasks").sync(client=ann, limit=1).tasks
    assert [task.task_id for task in listed] == [task_id]


def test_an_image_up_down_and_away(generated: Generated, ann: Any) -> None:
    content = png(photograph(40, 30))
    file = generated.part("types", "File")(payload=BytesIO(content), file_name="photo.png")
    body = generated.model("UploadBlobBody")(blob_data=file)
    blob_id = generated.endpoint("blobs", "upload_blob").sync(client=ann, body=body)
    assert generated.endpoint("blobs", "download_blob").sync(blob_id, client=ann).payload.read() == content
    assert generated.endpoint("blobs", "delete_blob").sync_detailed(blob_id, client=ann).status_code == 204


def test_a_task_is_cancelled(generated: Generated, ann: Any) -> None:
    parameters = generated.model("Txt2ImgParams")(prompt="a dog", steps=500, width=64, height=64, num_outputs=16)
    task_id = generated.endpoint("tasks", "create_task").sync(client=ann, body=parameters)
    assert generated.endpoint("tasks", "cancel_task").sync_detailed(task_id, client=ann).status_code == 204
    assert last_event(generated, ann, task_id, "CancelledEvent").reason == "This task was cancelled."


def test_a_picture_from_the_plugins_endpoint(generated: Generated, stranger: Any) -> None:
    form = generated.model("TextToImageForm")(prompt="a dog", num_inference_steps=2, width=64, height=64, seed=7)
    answer = generated.endpoint("plugin", "txt2img").sync(client=stranger, body=form)
    (image,) = answer.images
    assert (answer.status, image.seed, from_base64(image.base64).size) == ("success", 7, (64, 64))
    assert generated.endpoint("plugin", "health").sync(client=stranger).status.value == "ready"
    assert generated.endpoint("plugin", "models").sync(client=stranger).models[0].native_size == 512


def test_failures_are_parsed_to_their_models(generated: Generated, ann: Any, stranger: Any) -> None:
    answer = generated.endpoint("tasks", "last_event").sync_detailed("0" * 32, client=ann)
    assert (answer.status_code, type(answer.parsed).__name__) == (404, "Detail")
    assert answer.parsed.detail.startswith("There is no task")

    parameters = generated.model("Txt2ImgParams")(prompt="a dog", steps=0)
    answer = generated.endpoint("tasks", "create_task").sync_detailed(client=ann, body=parameters)
    assert (answer.status_code, type(answer.parsed).__name__) == (422, "ValidationFailure")
    assert [fault.loc for fault in answer.parsed.detail] == [["body", "steps"]]

    wrong = generated.model("Credentials")(username="ann", password="wrong")
    answer = generated.endpoint("accounts", "log_in").sync_detailed(client=stranger, body=wrong)
    assert (answer.status_code, type(answer.parsed).__name__) == (401, "Detail")

    form = generated.model("TextToImageForm")(prompt="a dog", width=63)
    answer = generated.endpoint("plugin", "txt2img").sync_detailed(client=stranger, body=form)
    assert (answer.status_code, type(answer.parsed).__name__) == (422, "Failure")
    assert "width" in answer.parsed.message
