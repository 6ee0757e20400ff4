"""The dialect of OpenAI's images API."""

import json
from typing import Any

from tools.conformance.server import Dialect, Failed, Server, expect, gradient, picture, png, right_half, same_left

OPENAI = Dialect("OpenAI", lambda server: expect(server.json("GET", "/v1/models")["object"] == "list", "no list"))

# Steps are no field of OpenAI's; servers that do not know them ignore them.
SMALL: dict[str, Any] = {"prompt": "a dog", "size": "64x64", "steps": 2, "response_format": "b64_json"}
FORM = {"prompt": "a dog", "steps": "2", "response_format": "b64_json"}


def generated(server: Server, **fields: Any) -> Any:
    """The pictures that a request is answered with."""
    answer = server.json("POST", "/v1/images/generations", json=SMALL | fields)
    expect(isinstance(answer["created"], int), "created is no whole number")
    return answer["data"]


@OPENAI.check
def generations(server: Server) -> None:
    """Draws from text at the size that is asked for."""
    data = generated(server, n=2)
    expect([picture(entry["b64_json"]).size for entry in data] == [(64, 64)] * 2, "the pictures have another size")


@OPENAI.check
def models(server: Server) -> None:
    """Takes an unknown and an empty model for its main one."""
    for model in ("gpt-image-1", ""):
        generated(server, model=model)


@OPENAI.check
def listing(server: Server) -> None:
    """Lists models, and shows one."""
    (first, *_) = server.json("GET", "/v1/models")["data"]
    name = first["id"].replace("/", "%2F")
    expect(server.json("GET", f"/v1/models/{name}")["id"] == first["id"], "it shows another one")


@OPENAI.check
def links(server: Server) -> None:
    """Answers links, which can be opened."""
    (entry,) = generated(server, response_format="url")
    expect(entry.get("b64_json") is None, "there is b64_json beside url")
    expect(entry["url"].startswith(server.url), "the link is to another server")
    expect(Server(server.url).ask("GET", entry["url"].removeprefix(server.url)).ok, "the link cannot be opened")


@OPENAI.check
def formats(server: Server) -> None:
    """Answers JPEG and WebP."""
    for output in ("jpeg", "webp"):
        (entry,) = generated(server, output_format=output, output_compression=50)
        found = picture(entry["b64_json"]).format
        expect(found == output.upper(), f"{output} is {found}")


@OPENAI.check
def edits(server: Server) -> None:
    """Replaces what is transparent in a mask."""
    mask = right_half("RGBA", (0, 0, 0, 255), (0, 0, 0, 0))
    files = {"image": ("a.png", png(gradient()), "image/png"), "mask": ("m.png", png(mask), "image/png")}
    (entry,) = server.json("POST", "/v1/images/edits", data=FORM, files=files)["data"]
    expect(same_left(picture(entry["b64_json"]), gradient()), "what is opaque has changed")


@OPENAI.check
def several_images(server: Server) -> None:
    """Takes image[] as well."""
    files = [("image[]", ("a.png", png(gradient()), "image/png"))]
    server.json("POST", "/v1/images/edits", data=FORM, files=files)


@OPENAI.check
def variations(server: Server) -> None:
    """Makes variations."""
    files = {"image": ("a.png", png(gradient()), "image/png")}
    form = {"steps": "2", "response_format": "b64_json", "n": "1"}
    (entry,) = server.json("POST", "/v1/images/variations", data=form, files=files)["data"]
    picture(entry["b64_json"])


@OPENAI.check
def streams(server: Server) -> None:
    """Streams, and ends with the finished picture."""
    answer = server.ask("POST", "/v1/images/generations", json=SMALL | {"stream": True, "partial_images": 1})
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: {")]
    if not lines:
        raise Failed("there are no events")
    last = json.loads(lines[-1])
    expect(last["type"] == "image_generation.completed", f"the last event is {last['type']}")
    picture(last["b64_json"])


@OPENAI.check
def refusal(server: Server) -> None:
    """Refuses a faulty field by its name, in the shape of its errors."""
    error = server.json("POST", "/v1/images/generations", status=400, json=SMALL | {"n": 0})["error"]
    expect(error.keys() >= {"message", "type", "param", "code"}, f"the error has {', '.join(error)}")
    expect(error["param"] == "n", f"param is {error['param']!r}")


@OPENAI.check
def unknown_path(server: Server) -> None:
    """Answers an unknown path in the shape of its errors."""
    expect("message" in server.json("POST", "/v1/no/such", status=404, json={})["error"], "there is no message")
