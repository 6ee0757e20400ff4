"""OpenAI's own library against this server, with nothing but its address changed."""

import asyncio
import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from pictures import photograph, to_base64
from PIL import Image
from ready_server import ready_server
from tiny_model import tiny_model

QUICK: dict[str, Any] = {"prompt": "a dog", "size": "64x64", "extra_body": {"steps": 2, "seed": 5}}


@pytest.fixture(scope="module")
def url(make_settings: Any) -> Iterator[str]:
    custom = {"model_path": str(tiny_model()), "ui_label": "Other", "url_path": "folder/other"}
    with ready_server(make_settings(custom_models=[custom], enable_public_token=True)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(api_key="sk-without-meaning", base_url=f"{url}/v1") as client:
        yield client


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def picture(answered: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answered.b64_json)))


def holed(width: int, height: int) -> bytes:
    """A mask of this dialect: its right half is transparent."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (width // 2, 0, width, height))
    return png(mask)


def same_by_plugin(url: str, path: str, **form: Any) -> Image.Image:
    form = {"prompt": "a dog", "num_inference_steps": 2, "seed": 5} | form
    answer = requests.post(url + path, data=form, timeout=60).json()
    return Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["base64"])))


def test_pictures_are_those_of_the_plugin_with_the_same_fields(client: Any, url: str) -> None:
    answer = client.images.generate(**QUICK | {"n": 2}, quality="low")
    assert [entry.url for entry in answer.data] == [None, None]
    assert [entry.seed for entry in answer.data] == [5, 6]
    assert (answer.size, answer.quality, answer.output_format, answer.background) == ("64x64", "low", "png", "opaque")
    assert abs(answer.created - time.time()) < 60
    assert picture(answer.data[0]).tobytes() == same_by_plugin(url, "/txt2img", width=64, height=64).tobytes()


def test_quality_chooses_the_steps_where_nothing_else_does(client: Any) -> None:
    answer = client.images.generate(prompt="a dog", size="64x64", quality="low", model="gpt-image-2")
    assert "Steps: 10," in picture(answer.data[0]).info["parameters"]


@pytest.mark.parametrize(("output", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(client: Any, output: Any, name: str) -> None:
    sizes = []
    for compression in (20, 100):
        answer = client.images.generate(**QUICK, output_format=output, output_compression=compression)
        made = picture(answer.data[0])
        assert (made.format, made.size, answer.output_format) == (name, (64, 64), output)
        sizes.append(len(answer.data[0].b64_json or ""))
    assert sizes[0] < sizes[1]


def test_links_open_without_a_token_and_cannot_be_forged(client: Any) -> None:
    answer = client.images.generate(**QUICK, model="dall-e-3", output_format="webp")
    (entry,) = answer.data
    assert entry.b64_json is None
    linked = requests.get(entry.url, timeout=10)
    assert (linked.status_code, linked.headers["Content-Type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(linked.content)).size == (64, 64)
    sealed = entry.url.rpartition("/")[2].partition(".")[0]
    assert b"127.0.0.1" not in base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    forged = requests.get(entry.url[:-2] + "xx", timeout=10)
    assert (forged.status_code, forged.json()["error"]["code"]) == (404, "unknown_job")


def test_a_mask_replaces_what_is_transparent(client: Any, url: str) -> None:
    original = photograph(96, 64)
    fields = {"prompt": "a dog", "model": "", "extra_body": {"steps": 2, "seed": 5}}
    by_mask = picture(client.images.edit(image=("a.png", png(original)), mask=holed(96, 64), **fields).data[0])
    holes = original.convert("RGBA")
    holes.putalpha(Image.open(io.BytesIO(holed(96, 64))).getchannel("A"))
    white = Image.new("L", (96, 64))
    white.paste(255, (48, 0, 96, 64))
    plugin = same_by_plugin(url, "/masking", init_image=to_base64(original), mask_image=to_base64(white), strength=1)
    assert by_mask.tobytes() == plugin.tobytes()
    assert by_mask.crop((0, 0, 48, 64)).tobytes() == original.crop((0, 0, 48, 64)).tobytes()
    by_hole = picture(client.images.edit(image=[("a.png", png(holes))], **fields).data[0])
    assert by_hole.size == (96, 64)
    data_url = "data:image/png;base64," + to_base64(original)
    sent = {"prompt": "a dog", "images": [{"image_url": data_url}], "steps": 2, "seed": 5}
    mask = {"image_url": "data:image/png;base64," + base64.b64encode(holed(96, 64)).decode()}
    answer = requests.post(f"{url}/v1/images/edits", json=sent | {"mask": mask}, timeout=60).json()
    assert base64.b64decode(answer["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))).tobytes() == plugin.tobytes()


def test_an_edit_without_a_hole_redraws_the_picture_at_the_size_asked_for(client: Any, url: str) -> None:
    original = photograph(96, 64)
    fields = {"prompt": "a dog", "extra_body": {"steps": 4, "seed": 5, "strength": 0.5}}
    redrawn = picture(client.images.edit(image=png(original), **fields).data[0])
    plugin = same_by_plugin(url, "/img2img", init_image=to_base64(original), strength=0.5, num_inference_steps=4)
    assert redrawn.tobytes() == plugin.tobytes()
    assert picture(client.images.edit(image=png(original), size="64x128", **fields).data[0]).size == (64, 128)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_variations_need_no_prompt(client: Any) -> None:
    answer = client.images.create_variation(image=png(photograph(64, 64)), n=2, extra_body={"steps": 2})
    assert [picture(entry).size for entry in answer.data] == [(64, 64)] * 2


def test_a_stream_has_previews_and_then_the_pictures(client: Any) -> None:
    fields = {"prompt": "a dog", "size": "64x64", "extra_body": {"steps": 60, "seed": 5}}
    *partial, last = client.images.generate(**fields, stream=True, partial_images=2)
    assert 1 <= len(partial) <= 2
    for number, event in enumerate(partial):
        assert (event.type, event.partial_image_index) == ("image_generation.partial_image", number)
        assert picture(event).size == (64, 64)
    assert (last.type, last.size, last.usage.total_tokens) == ("image_generation.completed", "64x64", 0)
    assert picture(last).tobytes() == picture(client.images.generate(**fields).data[0]).tobytes()


def test_a_preview_of_a_part_lies_on_the_image(client: Any) -> None:
    original = photograph(192, 64)
    hole = Image.new("RGBA", original.size, (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (160, 16, 192, 48))
    options = {"inpaint_area": "masked", "context": 8, "steps": 80, "seed": 5}
    fields = {"image": png(original), "mask": png(hole), "prompt": "a dog", "extra_body": options}
    first, *_, last = client.images.edit(**fields, stream=True, partial_images=1)
    assert (first.type, last.type) == ("image_edit.partial_image", "image_edit.completed")
    for event in (first, last):
        assert picture(event).size == (192, 64)
        assert picture(event).convert("RGB").crop((0, 0, 100, 64)).tobytes() == original.crop((0, 0, 100, 64)).tobytes()
    assert picture(first).convert("RGB").tobytes() != original.tobytes()


def test_the_asynchronous_client_streams_edits(url: str) -> None:
    async def read() -> list[str]:
        async with openai.AsyncOpenAI(api_key="x", base_url=f"{url}/v1") as client:
            image = png(photograph(64, 64))
            stream = await client.images.edit(image=image, prompt="a dog", stream=True, extra_body={"steps": 4})
            return [event.type async for event in stream]

    assert asyncio.run(read()) == ["image_edit.completed"]


def test_models_are_listed_with_their_slashes_and_unknown_names_mean_the_main_one(client: Any) -> None:
    main, other = [model.id for model in client.models.list()]
    assert other == "folder/other"
    assert client.models.retrieve(other).id == other
    assert picture(client.images.generate(**QUICK, model=other).data[0]).info["parameters"].count("Model: Other") <= 1
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-2")
    named = client.images.generate(**QUICK | {"extra_body": {"steps": 2, "cfg_scale": 3}})
    assert "cfg_scale is not known here and was ignored; use guidance." in named.to_dict()["warnings"]
    assert client.images.generate(**QUICK, model=main).data


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "10by10"}, "size"),
        ({"size": "64x99999"}, "size"),
        ({"size": "9" * 30 + "x64"}, "size"),
        ({"n": 0}, "n"),
        ({"background": "transparent"}, "background"),
        ({"partial_images": 4}, "partial_images"),
        ({"extra_body": {"steps": "many"}}, "steps"),
        ({"output_format": "gif"}, "output_format"),
    ],
)
def test_faulty_fields_are_named_and_not_tried_again(client: Any, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**QUICK | fields)
    assert refused.value.param == param
    assert param in refused.value.message or param == "size"
    assert refused.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("image", ["https://example.com/a.png", {"file_id": "file-1"}, "nothing", 5])
def test_what_is_no_picture_is_refused_and_no_address_is_fetched(url: str, image: Any) -> None:
    answer = requests.post(f"{url}/v1/images/edits", json={"prompt": "a dog", "image": image}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


def test_no_picture_is_scaled_beyond_the_limits(url: str) -> None:
    fields = {"prompt": "a dog", "size": "30000x30000"}
    pictures = {"image": to_base64(photograph(64, 64)), "mask": base64.b64encode(holed(64, 64)).decode()}
    began = time.monotonic()
    answer = requests.post(f"{url}/v1/images/edits", json=fields | pictures, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
    assert time.monotonic() - began < 2


def test_a_refusal_says_what_ignored_fields_mean(url: str) -> None:
    fields = {"n": 0, "guidance_scale": 5, "uniqueness": 1}
    answer = requests.post(f"{url}/v1/images/generations", json={"prompt": "a dog", **fields}, timeout=10)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, message.startswith("n is 0; ")) == (400, True)
    assert "guidance_scale is not known here and was ignored; use guidance" in message


def test_empty_texts_say_that_nothing_is_given(client: Any) -> None:
    empty = dict.fromkeys(("model", "response_format", "quality", "background", "output_format", "style", "user"), "")
    answer = client.images.generate(**QUICK, **empty)
    assert picture(answer.data[0]).format == "PNG"
    assert client.images.generate(**QUICK | {"prompt": ""}).data


@pytest.mark.parametrize(
    ("sent", "expected"),
    [({}, "no body"), ({"data": b"{"}, "no valid JSON"), ({"data": {"prompt": "a dog"}}, "form-urlencoded")],
)
def test_bodies_that_are_no_object_are_refused_by_what_they_are(url: str, sent: Any, expected: str) -> None:
    answer = requests.post(f"{url}/v1/images/edits", timeout=10, **sent)
    assert (answer.status_code, expected in answer.json()["error"]["message"]) == (400, True)


def test_json_that_is_too_deep_is_a_400(url: str) -> None:
    answer = requests.post(f"{url}/v1/images/generations", data=b"[" * 5000, timeout=10)
    assert (answer.status_code, "nested" in answer.json()["error"]["message"]) == (400, True)


def test_a_cancelled_job_is_not_made_again(client: Any, url: str) -> None:
    def cancel() -> None:
        deadline = time.monotonic() + 30
        while not (jobs := requests.get(f"{url}/jobs", timeout=10).json()["jobs"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        requests.post(f"{url}/jobs/{jobs[0]['id']}/cancel", timeout=10)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(openai.BadRequestError) as cancelled:
        client.images.generate(prompt="a dog", size="64x64", extra_body={"steps": 400})
    canceller.join()
    assert cancelled.value.code == "job_cancelled"
    assert requests.get(f"{url}/jobs", timeout=10).json()["jobs"] == []


def test_what_is_no_http_is_refused_in_the_shapes_of_all_dialects(url: str) -> None:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    answer = json.loads(body)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert answer["message"] == answer["detail"] == answer["error"]["message"]
    assert answer["error"].keys() == {"message", "type", "param", "code"}


def test_an_unknown_path_is_a_short_error_of_this_dialect(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.get("/embeddings", cast_to=object)
    assert "/txt2img" not in missing.value.message
    assert missing.value.type == "not_found_error"
