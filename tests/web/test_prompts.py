"""What the server says of prompts, and how it refuses them in each dialect."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient
from safetensors.torch import save_file
from tiny_model import TEXT_WIDTH

from sd_api.app import create_app
from sd_api.wiring import build_services

HERE, ELSEWHERE = "127.0.0.1", "10.0.0.9"
FORM: dict[str, Any] = {"num_inference_steps": 4, "width": 64, "height": 64, "seed": 3}


def test_a_prompt_is_shown_as_it_is_understood(client: FlaskClient) -> None:
    form = FORM | {"prompt": "(x:1.4) [a:b:0.5] {y|z} BREAK <lora:c:0.5> AND d:2", "negative_prompt": "[x]"}
    answer = client.post("/prompt", data=form).get_json()
    assert (answer["status"], answer["seed"]) == ("success", 3)
    prompt = answer["prompt"]
    assert prompt["weights"] == [1, 2]
    assert prompt["loras"] == [{"name": "c", "weight": 0.5, "text_weight": 0.5, "first_step": 1, "last_step": 4}]
    assert [stage["first_step"] for stage in prompt["stages"]] == [1, 3]
    first, second = prompt["stages"][0]["prompts"]
    assert [piece.get("text") for piece in first["pieces"]] in [["x", f" a {letter} ", None, " "] for letter in "yz"]
    assert first["pieces"][2] == {"break": True}
    assert [[token["weight"] for token in chunk] for chunk in first["chunks"]] == [[1.4, 1, 1], []]
    assert second["chunks"] == [[{"token": "d</w>", "weight": 1}]]
    (negative,) = answer["negative_prompt"]["stages"]
    assert negative["prompts"][0]["chunks"][0][0]["weight"] == pytest.approx(1 / 1.1)
    plain = client.post("/prompt", data=form | {"prompt_syntax": "plain", "negative_prompt": ""}).get_json()["prompt"]
    assert plain["stages"][0]["prompts"][0]["pieces"] == [{"text": form["prompt"], "weight": 1}]


def test_a_refusal_points_at_the_character(client: FlaskClient) -> None:
    faulty = FORM | {"prompt": "a (dog:999)"}
    for path in ("/prompt", "/txt2img"):
        response = client.post(path, data=faulty)
        assert response.status_code == 422
        (fault,) = response.get_json()["errors"]
        assert fault["field"] == "prompt"
        assert "at character 8 (“999)”)" in fault["message"]
    assert client.post("/prompt", data=faulty | {"prompt_syntax": "plain"}).status_code == 200
    assert (
        client.post("/sdapi/v1/txt2img", json={"prompt": "a dog", "negative_prompt": "a (dog:999)"}).status_code == 422
    )
    assert client.post("/v1/images/generations", json={"prompt": "a (dog:999)"}).status_code == 400
    assert client.post("/txt2img", data=FORM | {"prompt": "a ((dog"}).status_code == 200


def test_a_short_request_has_no_endless_answer(client: FlaskClient) -> None:
    form = FORM | {"prompt": "[cat|dog]" * 400, "num_inference_steps": 200}
    response = client.post("/prompt", data=form)
    assert len(response.data) < 1.1 * 2**20
    prompt = json.loads(response.data)["prompt"]
    stages, left_out = prompt["stages"], prompt["stages_left_out"]
    assert [stage["first_step"] for stage in stages] == list(range(1, len(stages) + 1))
    assert len(stages) > 10
    assert len(stages) + left_out == 200
    assert client.post("/prompt", data=form | {"num_inference_steps": 4}).get_json()["prompt"]["stages_left_out"] == 0


@pytest.mark.parametrize("path", ["/prompt", "/estimate", "/txt2img"])
def test_prompts_of_too_many_chunks_are_refused_alike(client: FlaskClient, path: str) -> None:
    prompt = "[" + "|".join(f"x{number}" for number in range(60)) + "]" + "dog " * 650
    form = FORM | {"prompt": prompt, "num_inference_steps": 60}
    refused = client.post(path, data=form)
    assert refused.status_code == 422
    (fault,) = refused.get_json()["errors"]
    assert fault["field"] == "prompt"
    assert "more than 512 chunks of 75 tokens" in fault["message"]
    # Of 660 tokens, 9 chunks each: 56 texts of the prompt and one of the negative one are 513.
    assert client.post(path, data=form | {"num_inference_steps": 2}).status_code == 200


def test_words_that_were_trained_are_shown_as_their_vectors(make_settings: Any, tmp_path: Path) -> None:
    save_file({"emb_params": torch.zeros(2, TEXT_WIDTH)}, tmp_path / "Dotty-Style.safetensors")
    save_file({"emb_params": torch.zeros(2, 7)}, tmp_path / "narrow.safetensors")
    settings = make_settings(embeddings=str(tmp_path))
    services = build_services(settings)
    client = create_app(settings, services).test_client()

    def tokens(**form: Any) -> list[dict[str, Any]]:
        answer = client.post("/prompt", data=FORM | {"prompt": "a (dotty-style:1.2) d"} | form).get_json()
        (chunk,) = answer["prompt"]["stages"][0]["prompts"][0]["chunks"]
        found: list[dict[str, Any]] = chunk
        return found

    trained = [{"token": "dotty-style", "weight": 1.2, "vector": number} for number in (1, 2)]
    assert tokens() == [{"token": "a</w>", "weight": 1}, *trained, {"token": "d</w>", "weight": 1}]
    assert all("vector" not in token for token in tokens(prompt="narrow") + tokens(prompt_syntax="plain"))
    services.stores.close()


def test_another_computer_names_no_model_of_the_hub(make_settings: Any) -> None:
    settings = make_settings()
    client = create_app(settings, build_services(settings)).test_client()
    form = FORM | {"prompt": "a dog", "url_path": "huggingface:demo/other"}
    found = [client.post("/prompt", data=form, environ_base={"REMOTE_ADDR": each}) for each in (HERE, ELSEWHERE)]
    assert [response.status_code for response in found] == [200, 404]
    assert "may not be used here" in found[1].get_json()["message"]
