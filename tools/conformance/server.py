"""A server as the checks see it: requests over HTTP, and what they need to be like."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from PIL import Image

# Seconds for one answer; a model may have to be loaded for the first picture.
PATIENCE, PROMPT = 600, 30


class Failed(Exception):
    """A check found something else than it expects; the message says what."""


def expect(is_so: object, otherwise: str) -> None:
    """Fail a check.

    Raises:
        Failed: ``is_so`` is not true.
    """
    if not is_so:
        raise Failed(otherwise)


@dataclass
class Server:
    """A server and the credentials for it.

    Attributes:
        url: Its address, without a slash at the end.
        token: A token, or None.
    """

    url: str
    token: str | None = None

    def ask(self, method: str, path: str, *, basic: bool = False, **options: Any) -> requests.Response:
        """Send a request.

        Args:
            method: The HTTP method.
            path: The path, from its slash.
            basic: Whether the token is sent as the password of HTTP Basic.
            options: See ``requests.request``.

        Raises:
            Failed: There is no answer.
        """
        headers = dict(options.pop("headers", {}))
        if self.token is not None and basic:
            options["auth"] = ("token", self.token)
        elif self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        patience = PROMPT if method == "GET" else PATIENCE
        try:
            return requests.request(method, self.url + path, headers=headers, timeout=patience, **options)
        except requests.RequestException as error:
            raise Failed(f"{method} {path}: {type(error).__name__}") from None

    def json(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        """Send a request, see ``ask``, and read its answer.

        Raises:
            Failed: The status is another one, or the answer is no JSON.
        """
        answer = self.ask(method, path, **options)
        expect(answer.status_code != 401, f"{method} {path} wants a token; use --token")
        expect(answer.status_code == status, f"{method} {path} is {answer.status_code}, not {status}")
        try:
            return answer.json()
        except requests.JSONDecodeError:
            raise Failed(f"{method} {path} answers no JSON") from None


Run = Callable[[Server], object]
"""A check: its docstring says what the server does if it passes, and it raises Failed if it does not."""


@dataclass
class Dialect:
    """One way to speak to a server, with what is checked of it.

    Attributes:
        name: What it is called.
        speaks: Checks whether the server speaks it at all.
        checks: What else is checked.
    """

    name: str
    speaks: Run
    checks: list[Run] = field(default_factory=list)

    def check(self, run: Run) -> Run:
        """Add the decorated function to the checks."""
        self.checks.append(run)
        return run


def picture(text: str) -> Image.Image:
    """The picture in base64 text.

    Raises:
        Failed: It is none.
    """
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        image.load()
    except Exception as error:
        raise Failed(f"what should be a picture is none: {type(error).__name__}") from None
    return image


def png(image: Image.Image) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def text(image: Image.Image) -> str:
    """The file of a picture as base64 text."""
    return base64.b64encode(png(image)).decode()


def gradient(width: int = 64, height: int = 64) -> Image.Image:
    """A picture whose pixels differ."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    return Image.merge("RGB", (across, down, across)).resize((width, height))


def right_half(mode: str, kept: Any, replaced: Any, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A mask whose right half is replaced."""
    mask = Image.new(mode, size, kept)
    mask.paste(replaced, (size[0] // 2, 0, *size))
    return mask


def same_left(made: Image.Image, original: Image.Image) -> bool:
    """Whether the left half of a picture is that of another one."""
    left = (0, 0, original.width // 2, original.height)
    return made.convert("RGB").crop(left).tobytes() == original.convert("RGB").crop(left).tobytes()
