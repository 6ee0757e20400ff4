"""Somebody who speaks to a real server with a token, over the network."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from task_calls import QUICK, TaskCalls
from websockets.sync.client import ClientConnection, connect

LONG = QUICK | {"steps": 500, "num_outputs": 16}


class TaskSession(TaskCalls):
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

    def asked(self, method: str, path: str, **options: Any) -> Any:
        answer = self.call(method, path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

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
