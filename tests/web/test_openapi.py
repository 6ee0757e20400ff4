"""The description of the API: valid, committed as it is, complete, and readable without internet."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from pydantic import BaseModel
from werkzeug.datastructures import MultiDict

from sd_api.errors import ServerStopping
from sd_api.generation.examples import LANDSCAPE
from sd_api.generation.operation import OperationName
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.imaging.base64_text import decode_base64
from sd_api.models.catalog import ModelCatalog
from sd_api.settings import Limits, Settings
from sd_api.tasks.parameters import PARAMETERS, TaskReading, parse_parameters
from sd_api.web.a1111.forms import AskedOfImage
from sd_api.web.admission import REFUSAL
from sd_api.web.description import FORM
from sd_api.web.docs import documents
from sd_api.web.openai.forms import Options
from sd_api.web.openapi import as_yaml, describe
from sd_api.web.plugin.forms import FORMS, decode_form
from sd_api.web.tasks.bodies import Credentials

# Not described: pages, and the description itself.
UNDESCRIBED = ("studio.", "openapi.")


def parts_of(part: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every parameter and every property in a part of the description, with its place there."""
    if isinstance(part, list):
        for number, each in enumerate(part):
            yield from parts_of(each, f"{place}/{number}")
    elif isinstance(part, dict):
        if "in" in part and "schema" in part:
            # Pages send nothing without a required parameter, and fill in only an example beside the schema.
            beside = {"examples": [part["example"]]} if part.get("required") else {}
            yield place, part["schema"] | beside | {"description": part.get("description", "")}
        for name, each in part.items():
            if name == "properties":
                yield from ((f"{place}/{field}", schema) for field, schema in each.items())
            if name not in ("links", "examples", "example", "default"):
                yield from parts_of(each, f"{place}/{name}")


PARTS = dict(parts_of(describe(), ""))


def examples_of(schema: dict[str, Any]) -> list[Any]:
    """The examples of a property; where it names none, its default or the first of its choices."""
    if "examples" in schema:
        return list(schema["examples"])
    return [schema[name] for name in ("const", "default") if name in schema] or schema.get("enum", [])[:1]


def is_made_of_others(schema: dict[str, Any]) -> bool:
    """Whether a property holds a file, or objects whose own properties have the examples."""
    inner = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    inner += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    return any("$ref" in each for each in inner) or schema.get("format") == "binary"


def test_every_parameter_and_property_has_a_description_and_a_valid_example() -> None:
    assert len(PARTS) > 200
    components = {"components": describe()["components"]}
    for place, schema in PARTS.items():
        assert schema.get("description"), place
        examples = examples_of(schema)
        assert examples or is_made_of_others(schema), place
        for example in examples:
            assert OAS31Validator({**components, **schema}).is_valid(example), f"{place}: {example}"


def examples_in(model: type[BaseModel]) -> dict[str, list[Any]]:
    properties = model.model_json_schema()["properties"]
    return {name: examples_of(schema) for name, schema in properties.items()}


@pytest.mark.parametrize("name", FORMS)
def test_the_server_takes_the_examples_of_a_form(name: OperationName) -> None:
    examples = examples_in(FORMS[name])
    # The pages send the first of each; so it is one that can be sent twice.
    assert examples["job_id"] == ["", "my-first-picture"]
    for number in range(2):
        fields = {field: str(values[min(number, len(values) - 1)]) for field, values in examples.items()}
        spec, form = decode_form(MultiDict(fields), name, Limits(), decode_base64)
        assert spec.operation.prompt == "corgi with a top hat"
        assert spec.seeds == (42,)
        assert form.job_id == examples["job_id"][number]


@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_server_takes_the_examples_of_a_task(kind: str, settings: Settings) -> None:
    catalog = ModelCatalog(settings)
    reading = TaskReading(limits=Limits(), content=lambda field, blob_id: LANDSCAPE, find_model=catalog.find)
    fields = {field: values[0] for field, values in examples_in(PARAMETERS[kind]).items()}
    assert parse_parameters(fields, reading).model_dump() == fields


def test_the_server_takes_the_examples_of_whole_bodies() -> None:
    for path in ("/user", "/token"):
        content = describe()["paths"][path]["post"]["requestBody"]["content"]
        assert Credentials.model_validate(content[FORM]["example"]).username == "ann"
    content = describe()["paths"]["/masking"]["post"]["requestBody"]["content"]
    fields = {name: str(value) for name, value in content[FORM]["example"].items()}
    spec, _ = decode_form(MultiDict(fields), "masking", Limits(), decode_base64)
    assert spec.operation.steps == 20
    assert spec.operation.size == (64, 64)


def test_it_is_valid() -> None:
    validate(describe())


def test_the_committed_copy_is_what_the_server_says(repository: Path) -> None:
    committed = (repository / "docs" / "openapi.yml").read_text(encoding="utf-8")
    assert committed == as_yaml(), "write it anew: python -m sd_api.web.docs"


def test_the_committed_tables_of_fields_are_what_is_declared(repository: Path) -> None:
    for path, text in documents(repository / "docs").items():
        assert path.read_text(encoding="utf-8") == text, f"write {path.name} anew: python -m sd_api.web.docs"


def test_the_pages_of_the_dialects_name_every_field_that_is_no_operations(repository: Path) -> None:
    for page, model in (("a1111.md", AskedOfImage), ("openai.md", Options)):
        text = (repository / "docs" / page).read_text(encoding="utf-8")
        understood = text.partition("## What is understood")[2].partition("<!--")[0]
        assert [name for name in model.model_fields if f"`{name}`" not in understood] == []


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
        (re.sub(r"<(?:path:|int:)?(\w+)>", r"{\1}", rule.rule), method.lower())
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


def test_docs_without_the_slash_leads_there(client: FlaskClient) -> None:
    assert client.get("/docs", follow_redirects=True).status_code == 200
