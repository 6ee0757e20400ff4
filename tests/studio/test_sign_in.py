"""A server that wants to know who asks: signing in, pasting a token, and what is said where that fails."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from ready_server import ready_server
from scripted import scripted_server
from studio_page import USABLE, Studio, expect

from sd_api.accounts.tokens import ALGORITHM, make_secret
from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]

PASSWORD = "correct horse"
KEY = make_secret()


@pytest.fixture(scope="module")
def closed(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """The URL of a server that asks for a token, and gives one to every client."""
    with ready_server(
        make_settings(require_token=True, enable_signup=True, enable_public_token=True, secret_key=KEY)
    ) as url:
        yield url


@pytest.fixture
def studio(open_studio: OpenStudio, closed: str) -> Studio:
    """Its studio, which is not usable yet."""
    return open_studio(closed, path="/?", refusals=True)


def token(seconds: float, key: str = KEY) -> str:
    """A token that is valid for so long, or was."""
    now = int(time.time())
    claims = {"sub": "user:ann", "iat": now - 60, "exp": int(now + seconds), "jti": uuid4().hex}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def paste(studio: Studio, text: str) -> None:
    studio.page.get_by_label("Or paste a token").fill(text)
    studio.page.get_by_role("button", name="Use it").click()


def sign_in(studio: Studio, name: str, password: str, button: str = "Sign in") -> None:
    studio.page.get_by_label("User name").fill(name)
    studio.page.get_by_label("Password").fill(password)
    studio.page.get_by_role("button", name=button).click()


def panel(studio: Studio) -> Any:
    return studio.page.locator(".sign-in")


def test_somebody_new_makes_an_account_and_a_picture(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    studio.page.on("request", lambda request: asked.append(request.url))
    caplog.set_level(logging.DEBUG)
    expect(panel(studio)).to_contain_text("Please sign in")
    expect(studio.page.locator("#server-state")).to_have_text("Not signed in")
    expect(studio.page.locator("#username")).to_be_focused()
    name = f"user-{uuid4().hex[:8]}"
    sign_in(studio, name, PASSWORD, "Create an account")
    expect(panel(studio)).to_be_hidden()
    studio.page.locator(USABLE).wait_for()
    studio.quick()
    studio.generate()
    studio.wait_for_picture()
    # For as long as the tab is open, and nowhere else.
    studio.reload()
    expect(panel(studio)).to_have_count(0)
    kept = studio.page.evaluate("sessionStorage.getItem('token')")
    assert kept not in studio.page.evaluate("JSON.stringify({ ...localStorage }) + document.cookie")
    assert not any(kept in url or PASSWORD in url for url in asked)
    assert kept not in caplog.text
    assert PASSWORD not in caplog.text
    studio.page.get_by_role("button", name="Sign out").click()
    expect(panel(studio)).to_contain_text("Please sign in")
    assert studio.page.evaluate("sessionStorage.getItem('token')") is None
    sign_in(studio, name, PASSWORD)
    expect(panel(studio)).to_be_hidden()
    studio.page.locator(USABLE).wait_for()


def test_what_is_wrong_is_said_beside_its_field(studio: Studio) -> None:
    expect(panel(studio)).to_be_visible()
    sign_in(studio, "", "")
    expect(studio.problem("username")).to_have_text("The user name is empty.")
    expect(studio.problem("password")).to_have_text("The password is empty.")
    sign_in(studio, "nobody", "wrong")
    expect(studio.problem("password")).to_have_text("The username or the password is wrong.")
    sign_in(studio, "a/b", "x", "Create an account")
    expect(studio.problem("username")).to_contain_text("letters, digits, blanks and signs other than /")
    paste(studio, "not a tökén")
    expect(studio.problem("token")).to_have_text("The server does not know this token.")
    paste(studio, token(60, make_secret()))
    expect(studio.problem("token")).to_have_text("The server does not know this token.")
    paste(studio, token(-1))
    expect(studio.problem("token")).to_have_text("This token has expired.")
    expect(studio.page.locator("#form")).to_have_attribute("inert", "")
    paste(studio, f"  {token(60)}\n")
    expect(panel(studio)).to_be_hidden()
    studio.page.locator(USABLE).wait_for()


def test_a_token_that_ends_during_a_job_costs_nothing(studio: Studio) -> None:
    page = studio.page
    expect(panel(studio)).to_be_visible()
    # Another token of the same owner gets the picture of its job.
    paste(studio, token(600))
    page.locator(USABLE).wait_for()
    studio.quick(num_inference_steps=150)
    studio.generate()
    expect(studio.job().locator(".words")).to_contain_text("Step")
    page.evaluate("(token) => sessionStorage.setItem('token', token)", token(-1))
    page.reload()
    expect(panel(studio)).to_contain_text("This token has expired. Sign in again.")
    paste(studio, token(600))
    studio.wait_for_picture()


def test_only_what_the_server_allows_is_offered(
    open_studio: OpenStudio, make_settings: Callable[..., Settings]
) -> None:
    with scripted_server(make_settings(require_token=True, secret_key=KEY)) as (url, _):
        studio = open_studio(url, path="/status", refusals=True)
        expect(panel(studio)).to_be_visible()
        expect(panel(studio).get_by_role("button")).to_have_text(["Sign in", "Use it"])
        expect(studio.page.locator("#headline")).to_have_text("Please sign in")
        expect(studio.page.locator("#checks")).to_contain_text("the plugin sends none")
        paste(studio, token(60))
        expect(studio.page.locator("#headline")).to_have_text("The model is being loaded")
        expect(studio.page.locator("#report")).to_contain_text("Token required: yes")
        report = studio.page.locator("#report").text_content()
        assert studio.page.evaluate("sessionStorage.getItem('token')") not in report
