"""Bad tokens: each kind of them, at every endpoint that needs one."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jwt
import pytest
from flask.testing import FlaskClient
from task_calls import QUICK
from task_client import TaskClient

from sd_api.accounts.tokens import ALGORITHM, make_secret
from sd_api.app import create_app, create_event_streams
from sd_api.models.catalog import ModelCatalog
from sd_api.settings import Settings
from sd_api.tasks.requests import RequestMaker
from sd_api.web.tasks.events import EventStreams
from sd_api.wiring import Services

# What needs a token; test_access_matrix.py says who may do what with a good one.
GUARDED = [
    ("POST", "/task"),
    ("GET", "/task/<task_id>"),
    ("DELETE", "/task/<task_id>"),
    ("GET", "/tasks"),
    ("POST", "/blob"),
    ("GET", "/blob/<blob_id>"),
    ("DELETE", "/blob/<blob_id>"),
]


def secret_of(settings: Settings) -> str:
    assert settings.data is not None
    return (settings.data / "secret_key").read_text()


def made(secret: Any, algorithm: str = ALGORITHM, **changes: Any) -> str:
    now = int(time.time())
    return jwt.encode({"sub": "user:1", "iat": now, "exp": now + 60, "jti": "1", **changes}, secret, algorithm)


BAD: dict[str, Callable[[Settings, str], dict[str, str]]] = {
    "none": lambda settings, token: {},
    "empty": lambda settings, token: {"Authorization": "Bearer "},
    "another scheme": lambda settings, token: {"Authorization": f"Basic {token}"},
    "expired": lambda settings, token: {"Authorization": f"Bearer {made(secret_of(settings), exp=1)}"},
    "forged": lambda settings, token: {"Authorization": f"Bearer {made(make_secret())}"},
    "another algorithm": lambda settings, token: {"Authorization": f"Bearer {made(secret_of(settings), 'HS384')}"},
    "alg none": lambda settings, token: {"Authorization": f"Bearer {made(None, 'none')}"},
    "changed": lambda settings, token: {"Authorization": f"Bearer {changed(token)}"},
}


def changed(token: str) -> str:
    """Another's claims under this token's signature."""
    header, _, signature = token.split(".")
    return ".".join([header, made(make_secret()).split(".")[1], signature])


@pytest.fixture
def ann(client: FlaskClient) -> TaskClient:
    return TaskClient(client)


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.7", {}, 422),
        # A reverse proxy on this computer that the configuration does not name.
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 422),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}, 422),
    ],
)
def test_by_default_only_clients_on_this_computer_name_any_model(
    settings: Settings, services: Services, address: str, headers: dict[str, str], status: int
) -> None:
    catalog = ModelCatalog(settings.model_copy(update={"any_model": None}))
    maker = RequestMaker(catalog, services.blobs, settings.limits)

    class Tasks:
        def create(self, owner: str, fields: dict[str, Any], *, from_here: bool) -> str:
            return str(maker.complete(owner, fields, from_here=from_here)["model_id"])

    client = create_app(settings, replace(services, tasks=cast("Any", Tasks()))).test_client()
    answer = TaskClient(client).call(
        "POST",
        "/task",
        json=QUICK | {"model_id": "c/d"},
        headers=headers,
        environ_base={"REMOTE_ADDR": address},
    )
    assert answer.status_code == status, answer.get_json()
    assert (answer.get_json() == "c/d") is (status == 200)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("method", "rule"), GUARDED)
def test_what_is_guarded_takes_no_bad_token(
    client: FlaskClient, ann: TaskClient, settings: Settings, method: str, rule: str, kind: str
) -> None:
    answer = client.open(rule, method=method, headers=BAD[kind](settings, ann.token))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert set(answer.get_json()) == {"detail"}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("path", "protocol"), [("/events", "websocket"), ("/events/stream", "http")])
def test_no_bad_token_gets_events(
    settings: Settings, services: Services, ann: TaskClient, path: str, protocol: str, kind: str
) -> None:
    headers = {"Host": "localhost", **BAD[kind](settings, ann.token)}
    sent = asyncio.run(answers_of(create_event_streams(settings, services), protocol, path, headers))
    if protocol == "http":
        assert (sent[0]["status"], len(sent)) == (401, 2)
    else:
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
        assert sent[1]["code"] == 1008


async def answers_of(events: EventStreams, protocol: str, path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """All that a client is sent until it is sent away; it need not wait where that is done at once."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": f"{protocol}.connect"}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": protocol, "method": "GET", "path": path, "query_string": b"", "headers": raw}
    await asyncio.wait_for(events(scope, receive, send), 10)
    return sent


def test_a_token_that_is_made_like_ours_is_ours(client: FlaskClient, ann: TaskClient, settings: Settings) -> None:
    # Without this, all of the above might be refused for a reason that has nothing to do with the test.
    headers = {"Authorization": f"Bearer {made(secret_of(settings))}"}
    assert client.get("/tasks", headers=headers).status_code == 200
