"""A client of the task server without a network."""

import time
from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ENDED = ("finished", "cancelled")
QUICK: dict[str, Any] = {"prompt": "a dog", "steps": 2, "width": 64, "height": 64, "seed": 5}
LONG = QUICK | {"steps": 500}


class TaskClient:
    """Somebody with a public token."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.token: str = client.post("/token/all").get_json()["access_token"]

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        return self._client.open(path, method=method, headers=headers, **options)

    def create(self, **parameters: Any) -> str:
        answer = self.call("POST", "/task", json=parameters)
        assert answer.status_code == 200, answer.get_json()
        task_id: str = answer.get_json()
        return task_id

    def event(self, task_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/task/{task_id}")
        assert answer.status_code == 200, answer.get_json()
        event: dict[str, Any] = answer.get_json()
        return event

    def wait(self, task_id: str, *kinds: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (event := self.event(task_id))["event_type"] not in (kinds or ENDED):
            assert time.monotonic() < deadline, event
            time.sleep(0.02)
        return event

    def upload(self, content: bytes, name: str = "image.png") -> str:
        answer = self.call("POST", "/blob", data={"blob_data": (BytesIO(content), name)})
        assert answer.status_code == 200, answer.get_json()
        blob_id: str = answer.get_json()
        return blob_id
