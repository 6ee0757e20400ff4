"""A client of the task server without a network."""

from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from task_calls import QUICK, TaskCalls
from werkzeug.test import TestResponse

LONG = QUICK | {"steps": 500}


class TaskClient(TaskCalls):
    """Somebody with a public token."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.token: str = client.post("/token/all").get_json()["access_token"]

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        return self._client.open(path, method=method, headers=headers, **options)

    def asked(self, method: str, path: str, **options: Any) -> Any:
        answer = self.call(method, path, **options)
        assert answer.status_code == 200, answer.get_json()
        return answer.get_json()

    def upload(self, content: bytes, name: str = "image.png") -> str:
        blob_id: str = self.asked("POST", "/blob", data={"blob_data": (BytesIO(content), name)})
        return blob_id
