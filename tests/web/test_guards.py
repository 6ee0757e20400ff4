"""Who is let in by name, and what is remembered of those who are not."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from sd_api.errors import RefusedCaller
from sd_api.settings import Settings
from sd_api.web.guards import Callers
from sd_api.web.refused_callers import KEPT_SECONDS, MOST_REMEMBERED, RefusedCallers

PRIVATE = [
    "host.docker.internal:1337",
    "HOST.Docker.Internal.",
    "studio-pc",
    "studio_pc:1337",
    "pc.local",
    "a.b.local.:80",
    "nas.lan",
    "1.nas.lan",
    "xn--bcher-kva.local",
    "192.168.0.7:1337",
    "[fe80::1]:1337",
]
NEVER = [
    *("localhost.evil.com", "local", "lan.", "internal", ".local", "pc..local", "pc.local..", ".local.evil.com"),
    *("pc.local.evil.com", "evil.com", "pc.locale", "pclocal.com", "pc.internal.com", "2130706433", "0x7f000001"),
    *("-pc", "pc-.local", "p c.local", "pc.local@evil.com", "evil.com/pc.local", "evil.com#pc.local", ""),
    *("x" * 64, "bücher.local", "a." * 130 + "local", "[pc.local]", "*.local"),
]


SCRIPT = "<script>alert(1)</script>"


def is_let_in(settings: Settings, host: str, origin: str | None = None) -> bool:
    try:
        Callers(settings).check(host, origin)
    except RefusedCaller:
        return False
    return True


@pytest.mark.parametrize("host", PRIVATE)
def test_on_the_network_names_that_public_dns_does_not_have_are_known(host: str) -> None:
    assert is_let_in(Settings(host="0.0.0.0"), host)
    assert is_let_in(Settings(host="::"), host, f"http://{host}")
    assert not is_let_in(Settings(), host)


@pytest.mark.parametrize("host", NEVER)
def test_names_that_public_dns_may_have_are_not(host: str) -> None:
    assert not is_let_in(Settings(host="0.0.0.0"), host)


def refused_at(app_client: FlaskClient, **headers: str) -> list[dict[str, Any]]:
    assert app_client.get("/ping", headers=headers).status_code == 403
    found: list[dict[str, Any]] = app_client.get("/health").get_json()["refused_callers"]
    return found


def test_who_was_refused_is_shown_with_the_line_that_lets_it_in(client: FlaskClient) -> None:
    (latest, *_) = refused_at(client, Host="Studio.Example:1337")
    assert {name: latest[name] for name in ("header", "value", "count")} == {
        "header": "Host",
        "value": "studio.example",
        "count": 1,
    }
    assert latest["setting"] == '"allowed_hosts": ["studio.example"]'
    (latest, *_) = refused_at(client, Host="studio.example")
    assert latest["count"] == 2
    for origin in ("null", "file://"):
        (latest, before, *_) = refused_at(client, Origin=origin)
        assert (latest["header"], latest["setting"]) == ("Origin", f'"allowed_origins": ["{origin}"]')
    assert before["value"] == "null"


def test_who_might_be_refused_is_not_shown(client: FlaskClient) -> None:
    client.get("/access", query_string={"address": "http://only.asked.example"})
    shown = client.get("/health").get_json()["refused_callers"]
    assert "only.asked.example" not in {caller["value"] for caller in shown}


def refusal(settings: Settings, host: str, origin: str | None = None) -> RefusedCaller:
    with pytest.raises(RefusedCaller) as caught:
        Callers(settings).check(host, origin)
    return caught.value


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example.:80", None),
        ("[fe80::7]:1337", None),
        ("my_pc", None),
        ("localhost", "https://x.example:8443"),
        ("localhost", "HTTPS://X.example"),
        ("localhost", "file://"),
        ("localhost", "https://x.example/"),
        ("localhost", SCRIPT),
        ("a@localhost", None),
        ("x" * 1000, None),
        ("", None),
    ],
)
def test_a_line_lets_the_caller_in_or_there_is_none(host: str, origin: str | None) -> None:
    settings = Settings(allowed_hosts=("known.example",), allowed_origins=("https://known.example",))
    refused = RefusedCallers(settings)
    refused.add(refusal(settings, host, origin))
    (caller,) = refused.latest_first()
    if caller.setting is None:
        assert (origin or host) in ("", "a@localhost", "x" * 1000, "https://x.example/", SCRIPT)
        return
    change = json.loads("{" + caller.setting + "}")
    changed = Settings.model_validate(settings.model_dump() | change)
    assert is_let_in(changed, host, origin)
    assert {"known.example", "https://known.example"} & set(*change.values())


def test_only_some_are_remembered_for_an_hour() -> None:
    settings, time = Settings(), [1000.0]
    refused = RefusedCallers(settings, now=lambda: time[0])
    for number in range(MOST_REMEMBERED + 1):
        refused.add(refusal(settings, f"{number}.example"))
    assert len(refused.latest_first()) == MOST_REMEMBERED
    assert refused.latest_first()[-1].value == "1.example"
    time[0] += KEPT_SECONDS
    assert refused.latest_first() == []
    refused.add(refusal(settings, "1.example"))
    assert [caller.count for caller in refused.latest_first()] == [1]
