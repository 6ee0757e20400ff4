import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from sd_api.settings import CustomModel, Limits, Settings

TOKEN = "hf_ThisIsNobodysToken123456"
MODEL = {"model_path": "/models/portrait", "ui_label": "Portrait", "url_path": "portrait"}


def test_defaults() -> None:
    settings = Settings()

    assert settings.hf_token is None
    assert settings.custom_models == ()
    assert settings.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert settings.requires_safety_checker is True
    assert (settings.host, settings.port) == ("127.0.0.1", 1337)
    assert (settings.device, settings.dtype) == ("auto", "auto")
    assert settings.allowed_hosts == settings.allowed_origins == ()


def test_default_limits_let_the_largest_documented_image_pass() -> None:
    limits = Settings().limits

    assert limits.max_request_bytes == 128 * 1024**2
    assert limits.max_width * limits.max_height == 2048 * 2048 <= limits.max_image_pixels == 200_000_000


@pytest.mark.parametrize("section", [Settings(), Limits(), CustomModel.model_validate(MODEL)])
def test_settings_cannot_be_changed(section: BaseModel) -> None:
    for name in type(section).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, getattr(section, name))


@pytest.mark.parametrize("section", [Settings, Limits, CustomModel])
def test_every_setting_has_a_description(section: type[BaseModel]) -> None:
    assert all(field.description for field in section.model_fields.values())
    assert set(section.model_json_schema()["properties"]) == set(section.model_fields)


@pytest.mark.parametrize("blank", [None, "", "  ", "your_hugging_face_token", " your_hugging_face_token\n"])
def test_a_placeholder_is_no_token(blank: str | None) -> None:
    assert Settings.model_validate({"hf_token": blank}).hf_token is None


def test_the_token_is_readable_only_on_purpose() -> None:
    settings = Settings.model_validate({"hf_token": f" {TOKEN}\n"})

    assert settings.hf_token is not None
    assert settings.hf_token.get_secret_value() == TOKEN
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert TOKEN not in shown


@pytest.mark.parametrize("wrong", [[TOKEN], {"token": TOKEN}, f"{TOKEN} {TOKEN}"])
def test_pydantic_does_not_print_a_mistyped_token(wrong: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"hf_token": wrong})

    assert "hf_token" in str(caught.value)
    assert TOKEN not in str(caught.value)


VALID = [
    ("port", 0, 0),
    ("port", 65535, 65535),
    ("host", "0.0.0.0", "0.0.0.0"),
    ("host", "::1", "::1"),
    ("device", "cuda:1", "cuda:1"),
    ("device", "xpu:0", "xpu:0"),
    ("dtype", "bf16", "bf16"),
    ("memory", "low", "low"),
    ("quantize", "nf4", "nf4"),
    ("placement", "by_stage", "by_stage"),
    ("requires_safety_checker", "false", False),
    ("requires_safety_checker", "true", True),
    ("allowed_hosts", ["Studio.local", "192.168.1.20", "[::1]"], ("studio.local", "192.168.1.20", "[::1]")),
    ("trusted_proxies", ["127.0.0.1", "10.1.0.0/16"], ("127.0.0.1/32", "10.1.0.0/16")),
    ("allowed_origins", ["http://a.example/"], ("http://a.example",)),
    ("allowed_origins", ["null", "https://A.example:8443"], ("null", "https://a.example:8443")),
    ("allowed_origins", ["http://[::1]:3000"], ("http://[::1]:3000",)),
    ("allowed_origins", ["file://"], ("file://",)),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALID)
def test_valid_values(name: str, value: object, expected: object) -> None:
    assert getattr(Settings.model_validate({name: value}), name) == expected


INVALID = [
    *[("port", value) for value in (-1, 65536, "1337", True, 80.0, None, float("nan"))],
    *[("host", value) for value in ("", " ", "http://localhost", "a b")],
    *[("device", value) for value in ("gpu", "cuda:", "cuda:x", "cuda:٣", "cpu\n", 0)],
    *[("dtype", value) for value in ("float16", "", 16)],
    *[("memory", value) for value in ("high", "", None, 16)],
    *[("quantize", value) for value in ("int4", None, True)],
    *[("placement", value) for value in ("cpu", None)],
    *[("model", value) for value in ("", "  ", 5, "C:\new", "\ud800")],
    *[("requires_safety_checker", value) for value in ("true | false", "", None, 2)],
    *[("trusted_proxies", [value]) for value in ("caddy", "10.0.0.1/8", "*", "", 1)],
    *[("allowed_hosts", [value]) for value in ("http://a", "a/b", "a:80", "*", "", 1)],
    *[("allowed_origins", [value]) for value in ("a", "http://a/b", "http://", "file:///x", "http://a:b", "*")],
    *[("allowed_origins", [value]) for value in ("http://a b", "file://x/y")],
    *[("allowed_origins", value) for value in ("http://a", {"0": "http://a"})],
    *[("limits", {"max_width": value}) for value in (0, -1, 2**31, "512", True, 1.5)],
    *[("custom_models", value) for value in (MODEL, [[MODEL]], "portrait", [MODEL, MODEL])],
    ("custom_model", []),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_values(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


@pytest.mark.parametrize("url_path", ["a", "A-Z.9_~", "styles/oil/v1.5", ".hidden", "...", "a..b"])
def test_valid_url_paths(url_path: str) -> None:
    assert CustomModel.model_validate(MODEL | {"url_path": url_path}).url_path == url_path


@pytest.mark.parametrize(
    "url_path", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a b", "é", "a%20b", "a?b", "a\n"]
)
def test_invalid_url_paths(url_path: str) -> None:
    with pytest.raises(ValidationError, match="single slashes"):
        CustomModel.model_validate(MODEL | {"url_path": url_path})


def test_labels_are_trimmed_and_keep_every_alphabet() -> None:
    assert CustomModel.model_validate(MODEL | {"ui_label": "  Портрет “É” 肖像 🎨 "}).ui_label == "Портрет “É” 肖像 🎨"


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "\ud800", 7])
def test_invalid_labels(label: object) -> None:
    with pytest.raises(ValidationError):
        CustomModel.model_validate(MODEL | {"ui_label": label})


@pytest.mark.parametrize("path", ["C:\new\table", "/models/\x00", "/models/\ud800", ""])
def test_invalid_model_paths(path: str) -> None:
    with pytest.raises(ValidationError):
        CustomModel.model_validate(MODEL | {"model_path": path})


def test_a_control_character_in_a_path_is_explained_by_its_backslash() -> None:
    path = json.loads(r'"C:\new\table"')

    for name, data in (
        ("model", {"model": path}),
        ("model_path", {"custom_models": [MODEL | {"model_path": path}]}),
    ):
        with pytest.raises(ValidationError, match=re.escape(r'twice ("G:\\My Drive")')) as caught:
            Settings.model_validate(data)
        assert caught.value.errors()[0]["loc"][-1] == name


def test_without_a_file_a_relative_path_starts_at_the_working_directory() -> None:
    assert CustomModel.model_validate(MODEL | {"model_path": "mine"}).model_path == Path.cwd() / "mine"
