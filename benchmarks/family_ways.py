"""One model that is served for real, alone and by a cluster, and the ways in which a picture of it is asked for."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import torch
from pictures import from_base64, from_png, half_mask, photograph, png, to_base64
from redis_server import RedisServer
from running_server import serving
from task_session import TaskSession, hear_until

from sd_api.settings import Settings
from sd_api.wiring import build_engine, build_services, build_worker

SIZE = (83, 75)
STEPS = 3
_PATIENCE = 600.0
_OPERATIONS_OF_TASKS = {"masking": "inpaint"}

_IMAGE, _MASK, _REFERENCE = photograph(*SIZE), half_mask(*SIZE), photograph(70, 90, seed=3)
_FIELDS = {"prompt": "a dog", "negative_prompt": "blue", "scheduler": "ddim", "seed": 7}


@dataclass(frozen=True)
class Server:
    """A server that runs in this process.

    Attributes:
        url: where it answers.
        engine: what makes its pictures, in this process.
    """

    url: str
    engine: Any

    @cached_property
    def sees_references(self) -> bool:
        """Whether its model sees further images by itself, without an adapter."""
        capabilities = self.engine._library.get(None).abilities.capabilities
        return "references" in capabilities and "ip_adapters" not in capabilities

    @property
    def parts(self) -> Any:
        """The components of its model."""
        return self.engine._library.get(None).parts

    def operations(self) -> list[str]:
        """What ``/models`` says that the model does."""
        models = requests.get(f"{self.url}/models", timeout=_PATIENCE).json()["models"]
        modes: list[str] = next(model["modes"] for model in models if model["modes"])
        return modes

    def send(self, operation: str, **changes: str) -> requests.Response:
        """The answer to a form."""
        form = {**_FIELDS, "num_inference_steps": STEPS, "guidance_scale": 3, "safety_checker": "false", **changes}
        if operation == "txt2img":
            form |= {"width": SIZE[0], "height": SIZE[1]}
        else:
            form["init_image"] = to_base64(_IMAGE)
        if operation == "masking":
            form["mask_image"] = to_base64(_MASK)
        if operation in ("img2img", "masking"):
            form["strength"] = 0.7
        if self.sees_references:
            form["references"] = json.dumps([to_base64(_REFERENCE)])
        return requests.post(f"{self.url}/{operation}", data=form, timeout=_PATIENCE)

    def draw(self, operation: str) -> bytes:
        """The pixels that a form is answered with."""
        answer = self.send(operation)
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["images"]
        return pixels(from_base64(image["base64"]))


@dataclass
class Task:
    """What came of a task.

    Attributes:
        drawn: the pixels of its picture.
        steps: the steps that its events said, each with their number.
        previews: how many previews its events named.
    """

    drawn: bytes
    steps: list[tuple[int, int]] = field(default_factory=list)
    previews: int = 0


def by_task(server: Server, operation: str) -> Task:
    """Have a picture made by a task, while its events and previews are listened to."""
    client = TaskSession(server.url)

    def keep(image: Any) -> Any:
        return client.asked("POST", "/blob", data=png(image), headers={"Content-Type": "image/png"})

    fields: dict[str, Any] = {
        **_FIELDS,
        "task_type": _OPERATIONS_OF_TASKS.get(operation, operation),
        "steps": STEPS,
        "guidance": 3,
    }
    fields["safety_filter"] = False
    if operation == "txt2img":
        fields |= {"width": SIZE[0], "height": SIZE[1]}
    else:
        fields["initial_image"] = keep(_IMAGE)
    if operation == "masking":
        fields["mask"] = keep(_MASK)
    if server.sees_references:
        fields["references"] = [keep(_REFERENCE)]
    if operation in ("img2img", "masking"):
        fields["strength"] = 0.7
    with client.listening("&progress=1&preview=1") as connection:
        client.create(**fields)
        *events, last = hear_until(connection, "finished", "cancelled")
    assert last["event_type"] == "finished", last
    progress = [event for event in events if event["event_type"] == "progress"]
    return Task(
        drawn=pixels(from_png(client.call("GET", f"/blob/{last['image']['blob_id']}").content)),
        steps=[(event["step"], event["steps"]) for event in progress if event["phase"] == "denoising"],
        previews=len({event["preview_blob_id"] for event in progress if "preview_blob_id" in event}),
    )


def pixels(image: Any) -> bytes:
    """The pixels of a picture, which has the size that was asked for."""
    assert image.size == SIZE, image.size
    content: bytes = image.tobytes()
    return content


@contextmanager
def served_alone(model: Path) -> Iterator[Server]:
    """A server with a model of its own."""
    with TemporaryDirectory() as data:
        settings = _settings(model, data)
        engine = build_engine(settings)
        services = build_services(settings, lambda: engine)
        with serving(settings, services) as url:
            _wait(lambda: services.queue.status().state == "ready")
            yield Server(url, engine)


@contextmanager
def served_by_cluster(model: Path, redis: RedisServer) -> Iterator[Server]:
    """A server without a model, whose worker it meets in Redis alone."""
    with TemporaryDirectory() as data:
        cluster = redis.emptied()
        settings = _settings(model, data, cluster=cluster)
        engine = build_engine(settings)
        worker = build_worker(settings, cluster, lambda: engine)
        services = build_services(settings)
        with serving(settings, services) as url:
            worker.start()
            try:
                _wait(lambda: services.queue.status().state == "ready")
                yield Server(url, engine)
            finally:
                worker.stop(timeout=10)


@contextmanager
def each_call(module: torch.nn.Module, act: Callable[[], None]) -> Iterator[list[None]]:
    """Have something done after each call of a module; what comes is as long as there were calls."""
    calls: list[None] = []

    def hook(*_: Any) -> None:
        calls.append(None)
        act()

    handle = module.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


_numbers = itertools.count()


def canceller(server: Server) -> tuple[str, Callable[[], None]]:
    """The name of a job, and what cancels it."""
    name = f"job-{next(_numbers)}"
    url = f"{server.url}/jobs/{name}/cancel"
    return name, lambda: requests.post(url, timeout=_PATIENCE).raise_for_status()


def _settings(model: Path, data: str, **changes: Any) -> Settings:
    values = {"model": str(model), "device": "cpu", "dtype": "fp32", "port": 0, "data": data, "any_model": False}
    values |= {"requires_safety_checker": False, "enable_public_token": True}
    return Settings.model_validate(values | changes)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
