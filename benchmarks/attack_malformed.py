"""Requests from a seed, with something wrong in each."""

import random
from collections import Counter

from attack_bodies import PART, answer
from attacked_server import FORM, JSON, MB, PARTS, Row, Target, watching

HOSTILE = [
    "",
    "0",
    "-1",
    "9" * 400,
    "NaN",
    "1e999",
    "null",
    "\x00",
    "💥" * 50,
    "../../etc/passwd",
    "%",
    "%zz",
    "a" * 9000,
]
PATHS = ["/txt2img", "/img2img", "/masking", "/custom/x", "/token", "/user", "/user/%00", "/task", "/tasks", "/blob"]
PATHS += [
    "/blob/x",
    "/jobs/x/cancel",
    "/events/stream",
    "/events",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/results/x",
    "/v1/models/%00",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/options",
    "/sdapi/v1/interrupt",
    "/sdapi/v1/png-info",
    "/sdapi/v1/progress?skip_current_image=%ff",
    "/docs/../x",
    "//ping",
    "/%ff",
    "/" + "x" * 2000,
    "*",
]
KINDS = [
    FORM,
    PARTS,
    JSON,
    "",
    "multipart/form-data",
    "image/png",
    "text/plain; charset=utf-16",
    "x" * 500,
    "a/b; c=\xff",
]
LINES = ["Content-Length: -1", "Content-Length: 5x", "Transfer-Encoding: gzip", "Host: evil", "Host: ", "Origin: null"]
LINES += ["Authorization: Bearer " + "x" * 500, "Authorization: Basic \xff", "Range: bytes=9-1", "Expect: 100-continue"]
LINES += [
    "Sec-Fetch-Site: cross-site",
    "Cookie: a=\x01",
    "no colon",
    ": no name",
    "X: " + "y" * 9000,
    "Upgrade: websocket",
]


def malformed(dice: random.Random) -> bytes:
    """A request with something wrong in it."""
    method = dice.choice(["POST"] * 8 + ["GET", "DELETE", "PUT", "OPTIONS", "HEAD", "TRACE", "P\xd6ST", "get"])
    fields = "&".join(
        f"{dice.choice(['seed', 'width', 'prompt', 'username'])}={dice.choice(HOSTILE)}" for _ in range(4)
    )
    body = dice.choice(
        [
            f"num_inference_steps=x&{fields}".encode(),
            dice.randbytes(dice.randrange(300)),
            b'{"username": ' + dice.choice([b"1", b"[]", b'"\\ud800"', b"1e999", b"9" * 5000, b"{" * 900]) + b"}",
            PART + dice.randbytes(30) + b"\r\n\r\nx\r\n--b" + dice.choice([b"", b"--", b"--\r\n"]),
            b"[" * 3000,
            b'{"prompt": 1, "image": [{}], "init_images": ["data:,", null], "n": 1e99, "size": "x", "mask": "\\ud800"}',
        ]
    )
    lines = [f"Content-Type: {dice.choice(KINDS)}", *dice.sample(LINES, dice.choice([0, 0, 1, 2]))]
    lines += dice.choice([[f"Content-Length: {len(body)}"]] * 6 + [["Transfer-Encoding: chunked"], []])
    head = "\r\n".join([f"{method} {dice.choice(PATHS)} HTTP/1.1", "Host: localhost", "Connection: close", *lines])
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def send_malformed(target: Target, count: int) -> Row:
    """Send seeded malformed requests: none may be the server's fault."""
    dice = random.Random(20221020)
    statuses: Counter[int] = Counter()
    with watching(target) as notice:
        for _ in range(count):
            with target.connect() as connection:
                connection.settimeout(0.5)
                connection.sendall(malformed(dice))
                statuses[answer(connection)] += 1
    faults = sum(number for status, number in statuses.items() if status >= 500)
    traces = target.output.count("Traceback")
    outcome = f"{faults} answers 5xx, {traces} tracebacks, {statuses[0]} without an answer"
    return Row(f"{count} malformed requests", notice, outcome, count / 10, 200 * MB, 50, right=not faults + traces)
