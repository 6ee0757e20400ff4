"""``/metrics``: valid for Prometheus, counting what happens, and silent about who asked for what."""

from collections.abc import Mapping

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

SMALL = {"num_inference_steps": 3, "width": 64, "height": 64}


def read(client: FlaskClient) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Every sample by its name, as a scraper understands them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.get_data(as_text=True)):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def total(client: FlaskClient, name: str, **labels: str) -> float:
    return sum(value for found, value in read(client).get(name, []) if labels.items() <= found.items())


def test_a_picture_is_counted(client: FlaskClient) -> None:
    labels = {"mode": "txt2img", "model": "My First Model"}
    names = {
        "sd_jobs_total": 1,
        "sd_pictures_total": 2,
        "sd_job_wait_seconds_count": 1,
        "sd_job_run_seconds_count": 1,
        # One picture after the other on a processor.
        "sd_step_seconds_count": 6,
    }
    before = {name: total(client, name, **labels) for name in names}
    # The scheduler makes as many steps as it is asked for; the default one makes one more.
    form = {"prompt": "a dog", "num_outputs": 2, "scheduler": "ddim", **SMALL}
    assert client.post("/custom/my_first_model", data=form).status_code == 200
    assert {name: total(client, name, **labels) - before[name] for name in names} == names


def test_what_is_loaded_is_a_metric(client: FlaskClient) -> None:
    client.post("/txt2img", data={"prompt": "a dog", **SMALL})
    assert total(client, "sd_workers", state="ready") == 1
    models = client.get("/health").get_json()["models"]
    assert total(client, "sd_model_bytes") == sum(model["bytes"] for model in models)
    (main,) = (model for model in models if model["model"] == client.get("/health").get_json()["model"])
    assert total(client, "sd_model_load_seconds", model=main["model"]) == main["load_seconds"] > 0


def test_nothing_tells_who_asked_or_for_what(client: FlaskClient) -> None:
    form = {"prompt": "a very private dog", "negative_prompt": "a cat", "job_id": "my-own-job", **SMALL}
    assert client.post("/txt2img", data=form, headers={"User-Agent": "somebody"}).status_code == 200
    text = client.get("/metrics").get_data(as_text=True)
    for secret in ("private", "cat", "my-own-job", "somebody", "127.0.0.1", "hf_secret"):
        assert secret not in text


def test_it_is_guarded_as_health_is(client: FlaskClient, app: Flask) -> None:
    for path in ("/metrics", "/health"):
        refused = client.get(path, headers={"Origin": "https://evil.example"})
        assert (refused.status_code, refused.get_json()["status"]) == (403, "failure")
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
