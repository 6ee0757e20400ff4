"""Somebody who speaks to a real server with a token, over the network."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

QUICK: dict[str, Any] = {"prompt": "a dog", "steps": 2, "width": 64, "height": 64, "seed": 5}
LONG = QUICK | {"steps": 500, "num_outputs": 16}
ENDED = ("finished", "cancelled")


class TaskSession:
    """A token and what can be done with it.

    Attributes:
        token: a new public one, if none is given.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token: str = token or requests.post(f"{url}/token/all", timeout=10).json()["access_token"]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=30, **options)

    def create(self, **parameters: Any) -> str:
        answer = self.call("POST", "/task", json=parameters)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()
        return task_id

    def event(self, task_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/task/{task_id}")
        assert answer.status_code == 200, answer.text
        event: dict[str, Any] = answer.json()
        return event

    def wait(self, task_id: str, *kinds: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (event := self.event(task_id))["event_type"] not in (kinds or ENDED):
            assert time.monotonic() < deadline, event
            time.sleep(0.02)
        return event

    @contextmanager
    def listening(self, query: str = "", **options: Any) -> Iterator[ClientConnection]:
        url = f"{self.url.replace('http', 'ws', 1)}/events?token={self.token}{query}"
        with connect(url, proxy=None, **options) as connection:
            yield connection


def hear(connection: ClientConnection) -> dict[str, Any]:
    """The next event."""
    event: dict[str, Any] = json.loads(connection.recv(timeout=30))
    return event


def hear_until(connection: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    """The events up to the first of these kinds."""
    events = [hear(connection)]
    while events[-1]["event_type"] not in kinds:
        events.append(hear(connection))
    return events
