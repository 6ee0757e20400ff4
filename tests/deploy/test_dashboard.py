"""The dashboard asks for what the server tells, in Prometheus's own language."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

# Given by Prometheus to everything that it reads.
GIVEN = {"instance", "job"}


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> Any:
    return json.loads((repository / "deploy" / "grafana.json").read_text(encoding="utf-8"))


@pytest.fixture
def served(client: FlaskClient) -> dict[str, set[str]]:
    """The labels of every series of a server that has made a picture."""
    form = {"prompt": "a dog", "num_inference_steps": 3, "width": 64, "height": 64}
    assert client.post("/txt2img", data=form).status_code == 200
    labels = {"sd_device_memory_bytes": {"host", "device", "state"}}  # where there is a card, that is
    for family in text_string_to_metric_families(client.get("/metrics").get_data(as_text=True)):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def selectors(node: Any, grouping: frozenset[str] = frozenset()) -> Iterator[tuple[Any, frozenset[str]]]:
    """Every series that an expression reads, with the labels that are made groups of."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node, grouping
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector, grouping
    elif isinstance(node, promql_parser.AggregateExpr):
        own = frozenset(node.modifier.labels) if node.modifier else frozenset[str]()
        yield from selectors(node.expr, grouping | own)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument, grouping)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs, grouping)
        yield from selectors(node.rhs, grouping)
    else:
        assert isinstance(node, promql_parser.NumberLiteral), node


def test_every_expression_names_series_and_labels_that_exist(dashboard: Any, served: dict[str, set[str]]) -> None:
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > len(dashboard["panels"]) > 10
    for expression in expressions:
        found = list(selectors(promql_parser.parse(expression.replace("$__rate_interval", "5m"))))
        assert found, expression
        for selector, grouping in found:
            assert selector.name in served, expression
            used = grouping | {matcher.name for matcher in selector.matchers.matchers}
            assert used <= served[selector.name] | GIVEN, expression


def test_everything_that_is_measured_is_shown(dashboard: Any, served: dict[str, set[str]]) -> None:
    text = json.dumps(dashboard)
    for name in served:
        family = name.removesuffix("_created").removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        if family.startswith("sd_"):
            assert family.removesuffix("_total") in text, name


def test_panels_have_places_of_their_own(dashboard: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
