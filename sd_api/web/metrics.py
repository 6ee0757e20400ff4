"""``GET /metrics``: the metrics of this process and its job queue, in the text format of Prometheus."""

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest


def make_blueprint(registry: CollectorRegistry) -> Blueprint:
    """The endpoint that reads ``registry``."""
    blueprint = Blueprint("metrics", __name__)

    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    blueprint.add_url_rule("/metrics", view_func=metrics)
    return blueprint
