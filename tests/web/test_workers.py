"""Who makes the pictures; of one process, that is the server itself."""

from flask.testing import FlaskClient

from sd_api import __version__


def test_the_one_process_is_its_own_worker(client: FlaskClient) -> None:
    form = {"prompt": "a dog", "width": 64, "height": 64, "num_inference_steps": 1}
    assert client.post("/txt2img", data=form).status_code == 200
    (worker,) = client.get("/workers").get_json()["workers"]
    assert (worker["state"], worker["device"], worker["dtype"]) == ("ready", "cpu", "fp32")
    assert worker["version"] == __version__
    assert worker["models"][0]["bytes"] > 0
    assert (worker["busy"], worker["jobs"], worker["memory"]) == (False, [], None)
