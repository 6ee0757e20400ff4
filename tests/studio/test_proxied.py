"""The pages where they come by another address than the loopback's, as from a reverse proxy with TLS."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import scripted_server
from studio_page import expect

from sd_api.settings import Settings

SITE = "https://pictures.example"


@pytest.fixture
def proxied(browser: Any, make_settings: Callable[..., Settings]) -> Iterator[tuple[Any, list[str]]]:
    """A page whose browser reaches a server as SITE, and the addresses of all that it asks for elsewhere."""
    with scripted_server(make_settings(allowed_hosts=["pictures.example"])) as (url, load):
        load()
        elsewhere: list[str] = []

        def carry(route: Any) -> None:
            asked = route.request.url
            if asked.startswith(f"{SITE}/"):
                headers = route.request.headers | {"host": SITE.removeprefix("https://")}
                route.fulfill(response=route.fetch(url=url + asked.removeprefix(SITE), headers=headers))
            else:
                elsewhere.append(asked)
                route.abort()

        context = browser.new_context()
        context.route(lambda asked: not asked.startswith(("data:", "blob:")), carry)
        yield context.new_page(), elsewhere
        context.unroute_all(behavior="wait")
        context.close()


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/docs/", ".opblock"), ("/", "#form:not([inert])"), ("/status", "#checks li")],
)
def test_nothing_is_asked_of_others(proxied: tuple[Any, list[str]], path: str, shown: str) -> None:
    page, elsewhere = proxied
    page.goto(SITE + path)
    page.locator(shown).first.wait_for()
    page.wait_for_timeout(500)
    assert elsewhere == []


def test_the_checks_know_the_proxy(proxied: tuple[Any, list[str]]) -> None:
    page, _ = proxied
    page.goto(f"{SITE}/status")
    expect(page.locator("#address")).to_have_value(SITE)
    expect(page.locator("#checks")).to_contain_text("scripted model is loaded")
    # What no page can see is whether a firewall is in the way.
    expected = ["good"] * 6 + ["look"]
    assert page.locator("#checks li").evaluate_all("(all) => all.map((node) => node.dataset.result)") == expected
    expect(page.locator("#checks")).to_contain_text("through a proxy in front of the server")
    for address, words in [
        ("http://pictures.example", "It must begin with https://"),
        (f"{SITE}:1337", f"The proxy in front of the server is at {SITE}."),
    ]:
        page.locator("#address").fill(address)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.locator("#checks li").nth(1)).to_contain_text(words)
