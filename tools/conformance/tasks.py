"""The dialect of the task server: tasks, events and images, with a token."""

import io
import time
from typing import Any

from PIL import Image

from tools.conformance.server import PATIENCE, Dialect, Failed, Server, expect, gradient, png

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "steps": 2, "seed": 7}


def has_tasks(server: Server) -> None:
    """It lists tasks."""
    answer = server.ask("GET", "/tasks")
    expect(answer.status_code in (200, 401), f"GET /tasks is {answer.status_code}, not 200")
    with_token(server).json("GET", "/tasks")


TASKS = Dialect("task server", has_tasks)


def with_token(server: Server) -> Server:
    """The server with a token, a public one where none was given."""
    if server.token is not None:
        return server
    answer = server.ask("POST", "/token/all")
    if answer.status_code != 200:
        raise Failed("it gives no public token; give one with --token")
    return Server(server.url, answer.json()["access_token"])


def finished(server: Server, **parameters: Any) -> dict[str, Any]:
    """The last event of a task."""
    task_id = server.json("POST", "/task", json=SMALL | parameters)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        event: dict[str, Any] = server.json("GET", f"/task/{task_id}")
        if event["event_type"] in ("finished", "cancelled", "aborted"):
            expect(event["event_type"] == "finished", f"the task ended with {event['event_type']}")
            return event
        time.sleep(0.1)
    raise Failed("the task does not end")


def downloaded(server: Server, blob_id: str) -> Image.Image:
    """An image by its id."""
    answer = server.ask("GET", f"/blob/{blob_id}")
    expect(answer.status_code == 200, f"GET /blob is {answer.status_code}")
    return Image.open(io.BytesIO(answer.content))


@TASKS.check
def task(server: Server) -> None:
    """Makes a task's picture, which can be downloaded."""
    server = with_token(server)
    image = downloaded(server, finished(server)["image"]["blob_id"])
    expect(image.size == (64, 64), "the picture has another size")


@TASKS.check
def from_image(server: Server) -> None:
    """Takes an image for a task."""
    server = with_token(server)
    headers = {"Content-Type": "image/png"}
    blob_id = server.json("POST", "/blob", data=png(gradient(96, 64)), headers=headers)
    blob_id = blob_id if isinstance(blob_id, str) else blob_id["blob_id"]
    event = finished(server, initial_image=blob_id, strength=0.5)
    expect(downloaded(server, event["image"]["blob_id"]).size == (96, 64), "the picture has another size")


@TASKS.check
def ending(server: Server) -> None:
    """Lists tasks, and ends one."""
    server = with_token(server)
    task_id = server.json("POST", "/task", json=SMALL | {"steps": 400})
    expect(task_id in str(server.json("GET", "/tasks")), "a new task is not in the list")
    expect(server.ask("DELETE", f"/task/{task_id}").status_code in (200, 204), "it cannot be deleted")


@TASKS.check
def refusal(server: Server) -> None:
    """Refuses an unknown parameter."""
    server = with_token(server)
    expect("detail" in server.json("POST", "/task", status=422, json=SMALL | {"unheard_of": 1}), "there is no detail")


@TASKS.check
def owners(server: Server) -> None:
    """Shows tasks and images to their owner only."""
    own = with_token(server)
    task_id = own.json("POST", "/task", json=SMALL)
    expect(Server(server.url).ask("GET", f"/task/{task_id}").status_code == 401, "without a token one sees a task")
    other = server.ask("POST", "/token/all")
    if other.status_code == 200:
        stranger = Server(server.url, other.json()["access_token"])
        expect(stranger.ask("GET", f"/task/{task_id}").status_code == 404, "another owner sees a task")
