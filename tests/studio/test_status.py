"""The status page."""

from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Route
from scripted import scripted_server
from studio_page import Studio, expect

from sd_api.settings import Settings

OpenStudio = Callable[..., Studio]


@pytest.fixture
def status(open_studio: OpenStudio, server: str) -> Studio:
    """The status page of the server that is ready."""
    # That there are no workers is an answer, too.
    return open_studio(server, path="/status", refusals=True)


def results(status: Studio) -> list[str]:
    """How each check ended."""
    items = status.page.locator("#checks li")
    expect(items).to_have_count(7)
    found: list[str] = items.evaluate_all("(nodes) => nodes.map((node) => node.dataset.result)")
    return found


def test_it_tells_how_the_server_is(status: Studio) -> None:
    page = status.page
    expect(page.locator("#headline")).to_have_text("Ready to make pictures")
    expect(page.locator("#server")).to_contain_text("cpu")
    expect(page.locator("#server")).to_contain_text("torch")
    expect(page.locator("#models")).to_contain_text("MB, on the device")
    expect(page.locator("#queue")).to_contain_text("No jobs.")
    expect(page.locator("#failures")).to_contain_text("None since the server was started")
    assert results(status) == ["good"] * 7
    expect(page.locator("#checks")).to_contain_text("1 custom model: My Other Model")


def test_of_checks_that_overlap_the_last_counts(status: Studio) -> None:
    results(status)
    answers: list[Route] = []
    status.page.route("**/ping", lambda route: answers.append(route), times=2)
    check = status.page.get_by_role("button", name="Check", exact=True)
    check.click()
    status.page.locator("#address").fill("http://127.0.0.1:9")
    check.click()
    while len(answers) < 2:
        status.page.wait_for_timeout(10)
    for answer in answers:
        answer.continue_()
    expect(status.page.locator("#checks")).to_contain_text("This server listens on port")
    assert [index for index, result in enumerate(results(status)) if result == "bad"] == [1]


def test_it_leads_to_what_every_endpoint_does(status: Studio) -> None:
    status.page.get_by_role("link", name="API", exact=True).click()
    expect(status.page.locator(".opblock").first).to_be_visible()


def test_an_address_that_cannot_work_is_explained(status: Studio) -> None:
    results(status)
    for address, bad, words in [
        ("http://127.0.0.1:9", [1], "This server listens on port"),
        ("https://127.0.0.1:{port}", [1, 2], "must begin with http://"),
        ("http://evil.example:{port}", [2, 3], 'add it to "allowed_hosts"'),
        ("http://192.168.0.7:{port}", [3], "Once it listens on the network"),
        ("http://127.0.0.1:{port}/txt2img", [1], "the plugin adds /txt2img by itself"),
        ("http://[", [1, 2, 3, 6], "This is not an address"),
    ]:
        status.page.locator("#address").fill(address.format(port=status.url.rpartition(":")[2]))
        status.page.get_by_role("button", name="Check", exact=True).click()
        expect(status.page.locator("#checks")).to_contain_text(words)
        assert [index for index, result in enumerate(results(status)) if result == "bad"] == bad


def test_the_report_can_be_copied_and_holds_no_secret(status: Studio) -> None:
    results(status)
    status.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    status.page.get_by_role("button", name="Copy report").click()
    expect(status.page.get_by_role("button", name="Copied")).to_be_visible()
    report = status.page.evaluate("navigator.clipboard.readText()")
    assert "Device: cpu, fp32" in report
    assert "Check good: The server answers" in report
    # The server's token; see conftest.py.
    assert "hf_" not in report


def test_who_was_refused_is_shown_as_text(status: Studio) -> None:
    origin = "https://<b>x</b>.example"
    assert requests.get(f"{status.url}/ping", headers={"Origin": origin}, timeout=5).status_code == 403
    assert requests.get(f"{status.url}/ping", headers={"Host": "my-pc.example"}, timeout=5).status_code == 403
    refused = status.page.locator("#refused")
    expect(refused).to_contain_text(f"Origin: {origin}")
    expect(refused).to_contain_text("no line of the configuration lets it in")
    expect(refused).to_contain_text('"allowed_hosts": ["my-pc.example"]')
    expect(status.page.locator("#report")).to_contain_text("Refused: Host my-pc.example: 1 time")
    expect(refused.locator("b, button")).to_have_count(0)


def test_workers_are_shown_where_there_are_any(open_studio: OpenStudio, server: str) -> None:
    engine = {"device": "cuda:0", "dtype": "fp16", "memory": {"total": 24 * 10**9, "free": 10**9}, "models": []}
    worker = {"id": "0", "host": "big-machine", "version": "0.1.0", "started": 0, "state": "ready", "message": None}
    answer = {"status": "success", "workers": [worker | engine | {"busy": True, "jobs": []}]}
    status = open_studio(server, path="/status", refusals=True)
    results(status)
    expect(status.page.locator("#workers-panel")).to_be_hidden()
    status.page.route("**/workers", lambda route: route.fulfill(json=answer))
    status.page.reload()
    expect(status.page.locator("#workers")).to_contain_text("big-machine")
    words = "makes a picture on cuda:0 (fp16, 1.0 GB of 24.0 GB free); 0 models loaded; version 0.1.0"
    expect(status.page.locator("#workers")).to_contain_text(words)
    expect(status.page.locator("#report")).to_contain_text(f"Worker: big-machine, {words}")
    # The server itself is none.
    answer["workers"] = [worker | engine | {"id": "local", "busy": False, "jobs": []}]
    expect(status.page.locator("#workers-panel")).to_be_hidden()


def test_it_notices_that_the_server_is_gone(open_studio: OpenStudio, make_settings: Callable[..., Settings]) -> None:
    with scripted_server(make_settings()) as (url, _):
        status = open_studio(url, path="/status", refusals=True)
        expect(status.page.locator("#headline")).to_have_text("The model is being loaded")
    expect(status.page.locator("#headline")).to_have_text("The server does not answer")
