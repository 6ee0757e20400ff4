"""Edits of documents that are larger than the model, over HTTP."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from icc import display_p3
from pictures import from_base64, from_png, photograph, to_base64
from PIL import Image
from tiny_families import filled, remade, sd
from tiny_model import make_unet

from sd_api.app import create_app
from sd_api.imaging.encoding import encode_png
from sd_api.imaging.profiles import from_srgb, to_srgb
from sd_api.jobs.job import ENDED
from sd_api.wiring import build_services

SIZE = (400, 300)
SMALL, LARGE = (180, 120, 220, 160), (50, 50, 170, 130)
AS_PNG = {"Accept": "image/png"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, make_settings: Any) -> Iterator[FlaskClient]:
    """A client of a server whose model was trained with squares of 64 x 64 pixels."""
    folder: Path = tmp_path_factory.mktemp("small")
    pipeline = sd()
    pipeline.register_modules(unet=filled(remade(make_unet(), sample_size=8)))
    pipeline.save_pretrained(folder)
    settings = make_settings(model=str(folder), requires_safety_checker=False)
    services = build_services(settings)
    services.start()
    yield create_app(settings, services).test_client()
    assert services.stop(timeout=60)


def form(document: Image.Image | str, box: tuple[int, int, int, int], **fields: Any) -> dict[str, Any]:
    mask = Image.new("L", SIZE)
    mask.paste(255, box)
    image = document if isinstance(document, str) else to_base64(document)
    common = {"prompt": "a dog", "num_inference_steps": 4, "seed": 5, "strength": 0.25, "scheduler": "ddim"}
    return {**common, "init_image": image, "mask_image": to_base64(mask), **fields}


def edited(client: FlaskClient, document: Image.Image | str, box: tuple[int, int, int, int]) -> bytes:
    response = client.post("/masking", data=form(document, box), headers=AS_PNG)
    assert response.status_code == 200, response.get_json()
    data: bytes = response.data
    return data


def test_a_document_in_display_p3_keeps_its_colours(client: FlaskClient) -> None:
    # Muted, so that sRGB has all of its colours.
    canvas = Image.blend(photograph(*SIZE), Image.new("RGB", SIZE, (128, 128, 128)), 0.5)
    document = from_srgb(canvas, display_p3())
    content = encode_png(document, profile=display_p3())
    sent = client.post("/documents", data=content, content_type="image/png").get_json()["document"]
    data = edited(client, sent["id"], SMALL)
    result = from_png(data)
    in_json = from_base64(client.post("/masking", data=form(sent["id"], SMALL)).get_json()["images"][0]["base64"])
    assert (in_json.tobytes(), in_json.info) == (result.tobytes(), result.info)
    assert result.info["icc_profile"] == display_p3()
    kept = np.ones(SIZE[::-1], bool)
    kept[SMALL[1] : SMALL[3], SMALL[0] : SMALL[2]] = False
    assert (np.asarray(result)[kept] == np.asarray(document)[kept]).all()
    expected = np.asarray(from_png(edited(client, canvas, SMALL)), np.int16)[~kept]
    shown = np.asarray(to_srgb(result, display_p3()), np.int16)[~kept]
    drawn = np.asarray(result, np.int16)[~kept]
    # The model makes something of what 8 bits round; on average little of that is left.
    assert np.abs((drawn - expected).mean(axis=0)).max() > 2
    assert np.abs((shown - expected).mean(axis=0)).max() < 1


def test_an_edit_that_is_cancelled_in_its_tiles_leaves_the_next_ones_as_they_are(client: FlaskClient) -> None:
    document = photograph(*SIZE)
    expected = edited(client, document, LARGE)
    slow = form(document, LARGE, num_inference_steps=12, strength=1, wait="false")
    path = f"/jobs/{client.post('/masking', data=slow).get_json()['job']['id']}"
    deadline = time.monotonic() + 60
    # The first pass has 12 steps.
    while ((job := client.get(path).get_json()["job"])["progress"] or {"step": 0})["step"] <= 12:
        assert job["state"] not in ENDED
        assert time.monotonic() < deadline
    assert client.post(f"{path}/cancel").get_json()["job"]["state"] == "cancelled"
    assert edited(client, document, LARGE) == expected


def test_large_edits_at_once_are_each_as_alone(client: FlaskClient) -> None:
    documents = [photograph(*SIZE, seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor() as pool:
        together = list(pool.map(lambda document: edited(client.application.test_client(), document, LARGE), documents))
    for document, data in zip(documents, together, strict=True):
        assert data == edited(client, document, LARGE)
