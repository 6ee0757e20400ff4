"""Users and tokens as clients see them."""

import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from sd_api.app import create_app
from sd_api.wiring import Services

PASSWORD = "correct horse"


def new_name() -> str:
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("kind", ["data", "json"])
def test_sign_up_log_in_and_be_somebody(client: FlaskClient, kind: str) -> None:
    name = new_name()
    fields: Any = {kind: {"username": name, "password": PASSWORD}}
    assert client.post("/user", **fields).get_json() == {"username": name}
    answer = client.post("/token", **fields)
    token = answer.get_json()
    assert token["token_type"] == "bearer"
    assert answer.headers["Cache-Control"] == "no-store"
    tasks = client.get("/tasks", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert tasks.get_json() == {"tasks": []}


def test_the_name_may_be_in_the_path(client: FlaskClient) -> None:
    name = new_name()
    assert client.post(f"/user/{name}?password=correct+horse").get_json() == {"username": name}
    assert client.post(f"/token/{name}", data={"password": PASSWORD}).status_code == 200
    assert client.post(f"/token/{name}", json={"password": PASSWORD}).status_code == 200


def test_a_name_has_blanks_and_any_letters_however_they_are_written(client: FlaskClient) -> None:
    suffix = new_name()
    composed, decomposed = f"Zo\u00eb 山田 {suffix}", f" Zoe\u0308 山田\u00a0{suffix}"
    assert client.post("/user", data={"username": decomposed, "password": PASSWORD}).get_json() == {
        "username": composed
    }
    assert client.post("/token", json={"username": composed, "password": PASSWORD}).status_code == 200
    assert client.post(f"/token/{quote(decomposed)}", data={"password": PASSWORD}).status_code == 200
    assert client.post("/user", data={"username": composed, "password": PASSWORD}).status_code == 409


def test_a_body_without_a_content_type_is_json(client: FlaskClient) -> None:
    name = new_name()
    body = json.dumps({"username": name, "password": PASSWORD})
    assert client.post("/user", data=body).get_json() == {"username": name}
    assert client.post(f"/token/{name}", data=json.dumps({"password": PASSWORD})).status_code == 200


def test_the_form_of_oauth2_is_taken(client: FlaskClient) -> None:
    fields = {"username": new_name(), "password": PASSWORD}
    client.post("/user", data=fields)
    assert client.post("/token", data=fields | {"grant_type": "password", "scope": ""}).status_code == 200


def test_a_taken_name_is_a_409(client: FlaskClient) -> None:
    fields = {"username": new_name(), "password": PASSWORD}
    client.post("/user", data=fields)
    answer = client.post("/user", data=fields)
    assert answer.status_code == 409
    assert answer.get_json()["detail"].startswith("There is a user")


def test_a_wrong_password_and_a_wrong_name_are_answered_alike(client: FlaskClient) -> None:
    name = new_name()
    client.post("/user", data={"username": name, "password": PASSWORD})
    answers = [
        client.post("/token", data={"username": username, "password": "wrong"}) for username in (name, new_name())
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].data == answers[1].data
    assert dict(answers[0].headers) == dict(answers[1].headers)
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"


def test_too_many_failures_are_a_429_that_says_when(client: FlaskClient) -> None:
    name = new_name()
    for _ in range(5):
        client.post("/token", data={"username": name, "password": "wrong"})
    answer = client.post("/token", data={"username": name, "password": "wrong"})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "username"),
        ({"username": "ann"}, "password"),
        ({"username": " ", "password": "x"}, "username"),
        ({"username": "a\u202eb", "password": "x"}, "username"),
        ({"username": "Ren\ufffd", "password": "x"}, "username"),
        ({"username": "all", "password": "x"}, "username"),
        ({"username": "../x", "password": "x"}, "username"),
        ({"username": "a" * 65, "password": "x"}, "username"),
        ({"username": "ann\n", "password": "x"}, "username"),
        ({"username": "ann", "password": ""}, "password"),
        ({"username": "ann", "password": "x" * 1025}, "password"),
        ({"username": "ann", "password": 5}, "password"),
        ({"username": "ann", "password": "\ud800"}, "password"),
        ({"username": None, "password": "x"}, "username"),
    ],
)
@pytest.mark.parametrize("path", ["/user", "/token"])
def test_bad_fields_are_named(client: FlaskClient, path: str, fields: dict[str, Any], field: str) -> None:
    answer = client.post(path, json=fields)
    assert answer.status_code == 422
    assert field in [detail["loc"][1] for detail in answer.get_json()["detail"]]


@pytest.fixture
def closed(make_settings: Any, services: Services) -> FlaskClient:
    """The same server with another configuration's door."""
    from dataclasses import replace

    from limits.storage import MemoryStorage

    from sd_api.accounts.accounts import Accounts
    from sd_api.accounts.attempts import Attempts
    from sd_api.accounts.tokens import Tokens, make_secret

    attempts = Attempts(MemoryStorage())
    accounts = Accounts(services.stores.users, Tokens(make_secret(), 60), attempts, signup=False, public=False)
    return create_app(make_settings(require_token=True), replace(services, accounts=accounts)).test_client()


@pytest.mark.parametrize("path", ["/user", "/token/all"])
def test_what_is_switched_off_is_a_403(closed: FlaskClient, path: str) -> None:
    answer = closed.post(path, data={"username": "ann", "password": "x"})
    assert answer.status_code == 403
    assert "is switched off" in answer.get_json()["detail"] or "are switched off" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/workers"),
        ("GET", "/custom_models"),
        ("GET", "/models"),
        ("POST", "/txt2img"),
        ("POST", "/img2img"),
        ("POST", "/masking"),
        ("POST", "/custom/x"),
        ("GET", "/jobs"),
        ("GET", "/jobs/x/result"),
        ("GET", "/progress"),
    ],
)
def test_the_plugins_endpoints_can_be_made_to_need_a_token(closed: FlaskClient, method: str, path: str) -> None:
    answer = closed.open(path, method=method)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.get_json()["status"] == "failure"
    assert closed.get("/ping").status_code == 200
    assert closed.get("/").status_code == 200


def test_how_to_come_to_a_token_is_answered_without_one(closed: FlaskClient) -> None:
    answer = closed.get("/access").get_json()
    assert (answer["require_token"], answer["enable_signup"], answer["enable_public_token"]) == (True, False, False)


@pytest.mark.parametrize("path", ["/task/x/y", "/user/a/b", "/token/a/b", "/blob/a/b", "/tasks/x"])
def test_unknown_paths_of_this_dialect_have_its_shape(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.get_json()) == {"detail"}


def test_unknown_methods_of_this_dialect_have_its_shape(client: FlaskClient) -> None:
    answer = client.put("/task")
    assert answer.status_code == 405
    assert answer.headers["Allow"]
    assert answer.get_json() == {"detail": "/task does not take PUT, but POST."}


def test_a_refused_origin_has_its_shape(client: FlaskClient) -> None:
    answer = client.post("/token/all", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert set(answer.get_json()) == {"detail"}
