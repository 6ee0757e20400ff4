"""Bodies that cost much more than their size where they are read without care, and many large ones at once."""

import gzip
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlencode

from attacked_server import FORM, JSON, MB, PARTS, Row, Target, watching

PART = b'--b\r\nContent-Disposition: form-data; name="init_image"'
A1111 = "/sdapi/v1/img2img"
IMAGE = b"prompt=a&init_image="
UNIT = b'{"alwayson_scripts":{"controlnet":{"args":[{"module":"'
REFERENCE = b'prompt=a&references=["'


@dataclass(frozen=True)
class Body:
    """A body that costs much more than its size where it is read without care.

    Attributes:
        name: for the table.
        path: where it is posted.
        kind: its content type.
        start: how it begins.
        unit: what is repeated then.
        status: the answer.
        chunked: whether it is framed already.
        end: how it ends.
        packed: whether it is sent as gzip; then its size is that of what is unpacked.
    """

    name: str
    path: str
    kind: str
    start: bytes
    unit: bytes
    status: int
    chunked: bool = False
    packed: bool = False
    end: bytes = b""


BODIES = [
    Body("a form of % signs, /token", "/token", FORM, b"a=", b"%", 413),
    Body("a form of % signs, /txt2img", "/txt2img", FORM, b"a=", b"%", 400),
    Body("a form of %41, /user", "/user", FORM, b"a=", b"%41", 413),
    Body("a form of %41, /txt2img", "/txt2img", FORM, b"a=", b"%41", 400),
    Body("a form of a=1&, /token", "/token", FORM, b"", b"a=1&", 413),
    Body("a form of a=1&, /txt2img", "/txt2img", FORM, b"", b"a=1&", 413),
    Body("base64, %0A after each letter", "/img2img", FORM, IMAGE, b"A%0A", 400),
    Body("base64, a line break after each letter", "/img2img", FORM, IMAGE, b"A\n", 400),
    Body("base64, a space after each letter", "/img2img", FORM, IMAGE, b"A+", 400),
    Body("base64 of lines of 76", "/img2img", FORM, IMAGE, b"QUJD" * 19 + b"%0D%0A", 400),
    Body("base64 in lines, then spaces alone", "/img2img", FORM, IMAGE + b"QUJD" * 5, b"+", 400),
    Body("JSON [],[],…, /user", "/user", JSON, b"[", b"[],", 413),
    Body("JSON [],[],…, /task without a token", "/task", JSON, b"[", b"[],", 401),
    Body("JSON [[[[…, /token", "/token", JSON, b"", b"[", 413),
    Body("a form of one long text, /txt2img", "/txt2img", FORM, b"more=", b"abcd", 400),
    Body("chunks of one byte", "/txt2img", FORM, b"", b"1\r\na\r\n", 400, chunked=True),
    Body("chunks with long extensions", "/txt2img", FORM, b"", b"1;" + b"x" * 400 + b"\r\na\r\n", 400, chunked=True),
    Body("a header of a part without an end", "/txt2img", PARTS, PART, b"x", 400),
    Body("a form of many parts", "/txt2img", PARTS, b"", PART + b"\r\n\r\nx\r\n", 413),
    Body("a part of almost boundaries", "/img2img", PARTS, PART + b"\r\n\r\n", b"\r\n--", 400),
    Body("gzip of base64, a space after each letter", "/img2img", FORM, IMAGE, b"A+", 400, packed=True),
    Body("gzip of %41, /txt2img", "/txt2img", FORM, b"a=", b"%41", 400, packed=True),
    Body("gzip of a form of a=1&, /token", "/token", FORM, b"", b"a=1&", 413, packed=True),
    Body("JSON [],[],…, /v1/images/generations", "/v1/images/generations", JSON, b"[", b"[],", 413),
    Body("JSON of one number, /v1/images/edits", "/v1/images/edits", JSON, b'{"image":', b"1", 413, end=b"}"),
    Body("JSON of one text, /v1/images/edits", "/v1/images/edits", JSON, b'{"image":"', b"QUJD", 400, end=b'"}'),
    Body("a form of many parts, /v1/images/edits", "/v1/images/edits", PARTS, b"", PART + b"\r\n\r\nx\r\n", 413),
    Body("JSON [],[],…, /sdapi/v1/img2img", A1111, JSON, b"[", b"[],", 413),
    Body("JSON of one number, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":', b"1", 413, end=b"}"),
    Body("JSON of one text, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b"QUJD", 422, end=b'"]}'),
    Body("JSON of escapes, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b"\\u0041", 422, end=b'"]}'),
    Body("JSON of a long name, /sdapi/v1/img2img", A1111, JSON, UNIT, b"a ", 404, end=b'"}]}}}'),
    Body("JSON of quotation marks, /sdapi/v1/img2img", A1111, JSON, b'{"init_images":["', b'\\"', 413, end=b'"]}'),
    Body("a form with JSON [],[],…, /txt2img", "/txt2img", FORM, b"prompt=a&references=[", b"[],", 413),
    Body("a form with JSON of escapes, /txt2img", "/txt2img", FORM, REFERENCE, b"\\u0041", 400, end=b'"]'),
    Body("an image without a token, /blob", "/blob", "image/png", b"", b"\x89PNG", 401),
]


def send_body(target: Target, body: Body, size: int) -> Row:
    """Post one body of ``size`` MB."""
    content = memoryview(body.start + body.unit * ((size * MB - len(body.start)) // len(body.unit)) + body.end)
    if body.packed:
        content = memoryview(gzip.compress(content, 1))
    framing = "Transfer-Encoding: chunked" if body.chunked else f"Content-Length: {len(content)}"
    if body.packed:
        framing += "\r\nContent-Encoding: gzip"
    with watching(target) as notice:
        status = post(target, body.path, body.kind, framing, content)
    # The body itself, and one and a half of it to read it.
    return Row(body.name, notice, str(status), 1, size * MB * 5 // 2, 50, right=status == body.status)


# Prompts that fit into a request, and cost much more than their size where they are read without care.
PROMPTS = {
    "brackets around a long number": "(" * 40 + ":" + "1" * 3900 + "x",
    "a LoRA's weight of many digits": "<lora:a:" + "1" * 3900 + "x>",
    "AND between brackets": "(a) AND " * 499,
    "a change in each step": "[a|b|c][x|y|z|w|v]" * 220,
}


# Prompts whose reading would cost more than the picture: one in hundreds of ways, or hundreds that are long.
READINGS = {
    "a new text in each step": "[" + "|".join(f"w{number}" for number in range(300)) + "]" + " word" * 400,
    "one long text among short ones": "[" + "BREAK " * 400 + "|" + "|".join(map(str, range(200))) + "]",
    "600 chunks": "BREAK " * 600,
}
assert all(len(prompt) < 4000 for prompt in READINGS.values())


def draw_prompts(target: Target) -> list[Row]:
    """Have the server draw each prompt in many steps, which it refuses before it draws, and then another one."""

    def draw(prompt: str, steps: int) -> int:
        fields = {"prompt": prompt, "num_inference_steps": steps, "width": 64, "height": 64}
        content = urlencode(fields).encode()
        return post(target, "/txt2img", FORM, f"Content-Length: {len(content)}", memoryview(content))

    # The first picture of a process takes longer.
    draw("a", 1)
    rows = []
    for name, prompt in READINGS.items():
        with watching(target) as notice:
            status = draw(prompt, 500)
        next_one = draw("a", 1)
        right = (status, next_one) == (422, 200)
        rows.append(Row(f"a picture: {name}", notice, f"{status}, then {next_one}", 2, 100 * MB, 50, right))
    return rows


def read_prompts(target: Target) -> list[Row]:
    """Have the server say how it reads each prompt."""
    rows = []
    for name, prompt in PROMPTS.items():
        content = urlencode({"prompt": prompt, "num_inference_steps": 100}).encode()
        with watching(target) as notice:
            status = post(target, "/prompt", FORM, f"Content-Length: {len(content)}", memoryview(content))
        rows.append(Row(f"a prompt: {name}", notice, str(status), 1, 50 * MB, 50, right=status in (200, 422)))
    return rows


def post(target: Target, path: str, kind: str, framing: str, content: memoryview) -> int:
    """Post a body to its end, as careless clients do; the status, 0 if the connection is lost without one."""
    with target.connect() as connection:
        try:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()
            )
            for start in range(0, len(content), MB):
                connection.sendall(content[start : start + MB])
        except OSError:
            pass  # Refused in the middle of it; the answer may be there all the same.
        return answer(connection)


def answer(connection: socket.socket) -> int:
    """The status that a connection answers with."""
    try:
        words = connection.recv(4096).split(b" ", 2)
    except OSError:
        return 0
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else 0


def send_many(target: Target, clients: int, size: int, *, held: bool) -> Row:
    """Post large forms at once, which are whole or lack their last byte."""
    content = memoryview(IMAGE + b"A" * (size * MB))
    framing = f"Content-Length: {len(content) + held}"
    statuses: Counter[int] = Counter()

    def client() -> None:
        statuses[post(target, "/img2img", FORM, framing, content)] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    with watching(target) as notice:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    what = "held one byte short" if held else "whole"
    right = set(statuses) <= {400, 408, 503}
    return Row(f"{clients} bodies of {size} MB, {what}", notice, str(dict(statuses)), 45, 1000 * MB, 250, right)
