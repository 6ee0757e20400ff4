"""The description of the API: valid, committed as it is, complete, and readable without internet."""

import re
from pathlib import Path

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from sd_api.errors import ServerStopping
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.tasks.parameters import PARAMETERS
from sd_api.web.admission import REFUSAL
from sd_api.web.docs import documents
from sd_api.web.openapi import as_yaml, describe

# Not described: pages, and the description itself.
UNDESCRIBED = ("studio.", "swagger_ui.", "openapi.")


def test_it_is_valid() -> None:
    validate(describe())


def test_the_committed_copy_is_what_the_server_says(repository: Path) -> None:
    committed = (repository / "docs" / "openapi.yml").read_text(encoding="utf-8")
    assert committed == as_yaml(), "write it anew: python -m sd_api.web.docs"


def test_the_committed_tables_of_fields_are_what_is_declared(repository: Path) -> None:
    for path, text in documents(repository / "docs").items():
        assert path.read_text(encoding="utf-8") == text, f"write {path.name} anew: python -m sd_api.web.docs"


def test_it_is_served(client: FlaskClient) -> None:
    assert client.get("/openapi.json").get_json() == describe()
    answer = client.get("/openapi.yml")
    assert answer.mimetype == "application/yaml"
    assert yaml.safe_load(answer.data) == describe()


def test_health_is_described_while_the_server_stops(client: FlaskClient) -> None:
    answer = client.get(
        "/health", environ_overrides={"asgi.scope": {REFUSAL: ServerStopping("The server is shutting down.")}}
    )
    assert answer.status_code == 503
    described = describe()["paths"]["/health"]["get"]["responses"]["503"]["content"]["application/json"]["schema"]
    whole = {"components": describe()["components"], **described}
    assert OAS31Validator(whole).is_valid(answer.get_json())
    assert not OAS31Validator(whole).is_valid({"status": "ready"})


def test_every_endpoint_is_described_and_no_other(app: Flask) -> None:
    served = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(UNDESCRIBED)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, item in describe()["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete", "patch")
    }
    assert described == served


def test_every_discriminator_maps_the_values_that_are_sent() -> None:
    schemas = describe()["components"]["schemas"]
    mapped = {}
    for schema in (schemas["LastEvent"], schemas["GeneratedBlob"]["properties"]["parameters_used"]):
        name, mapping = schema["discriminator"]["propertyName"], schema["discriminator"]["mapping"]
        assert sorted(mapping.values()) == sorted(choice["$ref"] for choice in schema["oneOf"])
        for value, ref in mapping.items():
            assert schemas[ref.rpartition("/")[2]]["properties"][name]["const"] == value
        mapped[name] = set(mapping)
    assert mapped["event_type"] == {"pending", "started", "finished", "cancelled"}
    assert mapped["task_type"] == set(PARAMETERS)
    assert as_yaml().count("discriminator:") == len(mapped)


def test_a_task_may_name_every_scheduler() -> None:
    assert set(PARAMETERS["txt2img"].model_json_schema()["properties"]["scheduler"]["enum"]) == set(SCHEDULERS)


@pytest.mark.parametrize("path", ["/docs/", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"])
def test_the_pages_come_from_this_server(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.status_code == 200
        text = answer.get_data(as_text=True)
        if path == "/docs/":
            assert not re.search(r'(src|href)="https?://', text)
            assert "/openapi.json" in text


def test_docs_without_the_slash_leads_there(client: FlaskClient) -> None:
    assert client.get("/docs", follow_redirects=True).status_code == 200
