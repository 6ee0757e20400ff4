"""Whatever is declared of a field is seen everywhere; no field is named here."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from asked import LIMITS, asked, unusual
from pictures import photograph, png

from sd_api.generation import wire
from sd_api.generation.description import describe_fields
from sd_api.generation.fields import Control, Field, fields_of
from sd_api.generation.operation import Operation
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.projection import Dialect
from sd_api.generation.spec import JobSpec, Outputs
from sd_api.tasks.parameters import KINDS, PARAMETERS, TASKS
from sd_api.web.plugin.forms import FORMS, PLUGIN

DIALECTS = {"plugin": PLUGIN, "tasks": TASKS}
TASK_MODELS = {operation.name: PARAMETERS[kind] for kind, operation in KINDS.items()}
MODELS: dict[str, Any] = {"plugin": FORMS, "tasks": TASK_MODELS}
EVERY = [(operation, field) for operation in OPERATIONS.values() for field in fields_of(operation)]


def name_of(value: Any) -> str:
    return str(getattr(value, "name", value))


def another(field: Field, value: Any) -> Any:
    """Yet another value than ``unusual`` gives."""
    if field.entry is not None:
        return (*value, *value)
    if field.holds_image:
        # Of the same size, which is part of every batch key.
        return replace(value, content=png(photograph(70, 90, seed=2)))
    if field.param.choices is not None:
        return field.param.choices[0]
    if field.param.check is not None:
        return f" {field.param.example}"
    if isinstance(value, bool | str):
        return not value if isinstance(value, bool) else value + "!"
    return value + (1 if isinstance(value, int) else 0.01)


def changed(spec: JobSpec, field: Field) -> JobSpec:
    values = {each.name: getattr(spec.operation, each.name) for each in fields_of(type(spec.operation))}
    values[field.name] = another(field, values[field.name])
    return replace(spec, operation=type(spec.operation)(**values, limits=LIMITS), limits=LIMITS)


@pytest.mark.parametrize(("operation", "field"), EVERY, ids=name_of)
def test_a_field_has_a_label_and_a_description(operation: type[Operation], field: Field) -> None:
    assert 1 <= len(field.param.label.split()) <= 3
    assert field.param.description.endswith(".")
    assert field.param.control in get_args(Control)


@pytest.mark.parametrize(("operation", "field"), EVERY, ids=name_of)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_field_is_in_each_dialect(dialect: str, operation: type[Operation], field: Field) -> None:
    spoken: Dialect = DIALECTS[dialect]
    described = describe_fields(spoken, LIMITS)
    if field.name in spoken.left_out:
        assert not field.required
        assert spoken.name(field.name) not in described
        return
    model = MODELS[dialect][operation.name].model_json_schema()
    own = spoken.name(field.name)
    entry, schema = described[own], model["properties"][own]
    assert operation.name in entry["modes"]
    assert entry["label"] == field.param.label
    assert entry["description"] == schema["description"] != ""
    assert (own in model.get("required", [])) == ("default" not in entry)
    if field.param.high is not None:
        assert (entry["minimum"], entry["maximum"]) == (field.param.low, field.param.highest(LIMITS))


def test_every_field_is_in_some_dialect() -> None:
    left_out = [dialect.left_out for dialect in DIALECTS.values()]
    assert frozenset.intersection(*left_out) == frozenset()
    known = {field.name for operation in (*OPERATIONS.values(), Outputs) for field in fields_of(operation)}
    for dialect in DIALECTS.values():
        assert {*dialect.names, *dialect.defaults, *dialect.stands_for_none, *dialect.left_out} <= known


@pytest.mark.parametrize(("operation", "field"), EVERY, ids=name_of)
def test_a_field_is_on_the_wire(operation: type[Operation], field: Field) -> None:
    spec = changed(asked(operation), field)
    value = getattr(spec.operation, field.name)
    assert value != unusual(field)
    contents = wire.image_contents(spec)
    arrived = wire.read_spec(json.loads(json.dumps(wire.plain_values(spec))), contents, LIMITS)
    assert getattr(arrived.operation, field.name) == value


@pytest.mark.parametrize(("operation", "field"), EVERY, ids=name_of)
def test_only_what_is_marked_may_differ_in_a_batch(operation: type[Operation], field: Field) -> None:
    spec = asked(operation)
    other = changed(spec, field)
    # What changes the plan need not be marked: the working sizes stand in every batch key.
    assert (other.batch_key == spec.batch_key) == (field.param.per_image and other.plan.forwards == spec.plan.forwards)


@pytest.mark.parametrize(("operation", "field"), EVERY, ids=name_of)
def test_a_key_of_the_parameters_text_is_one_fields(operation: type[Operation], field: Field) -> None:
    others = [other.name for _, other in EVERY if other.param.png_key == field.param.png_key is not None]
    assert set(others) <= {field.name}
