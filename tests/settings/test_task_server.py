"""The task server's settings, from the file, the environment and ``.env``."""

import os
from pathlib import Path

import pytest

from sd_api.errors import ConfigurationError
from sd_api.settings import Settings, load_settings

SECRET = "0123456789abcdef" * 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "ENABLE_SIGNUP", "ENABLE_PUBLIC_TOKEN", "HUGGINGFACE_TOKEN", "HF_TOKEN", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)


def load(file: Path, text: str = "{}", **environment: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environment=environment)


def fault(file: Path, text: str = "{}", **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file, text, **environment)
    return caught.value.message


def test_everything_is_closed_by_default(file: Path) -> None:
    settings = load(file)
    assert not settings.enable_signup
    assert not settings.enable_public_token
    assert settings.secret_key is None


@pytest.mark.parametrize(("text", "on"), [("1", True), ("true", True), ("0", True), ("", False)])
def test_anything_but_an_empty_text_switches_on(file: Path, text: str, on: bool) -> None:
    settings = load(file, ENABLE_SIGNUP=text, ENABLE_PUBLIC_TOKEN=text)
    assert (settings.enable_signup, settings.enable_public_token) == (on, on)


@pytest.mark.parametrize("value", ["true", '"yes"'])
@pytest.mark.parametrize("key", ["ENABLE_SIGNUP", "enable_signup"])
def test_the_file_takes_the_variables_names_too(file: Path, key: str, value: str) -> None:
    assert load(file, f'{{"{key}": {value}}}').enable_signup


def test_the_file_is_stronger_than_the_environment(file: Path) -> None:
    assert not load(file, '{"enable_signup": false}', ENABLE_SIGNUP="1").enable_signup


def test_a_key_under_both_names_is_refused(file: Path) -> None:
    text = '{"enable_signup": true, "ENABLE_SIGNUP": true}'
    assert "enable_signup: this key comes more than once" in fault(file, text)


def test_a_fault_under_the_variables_name_has_its_place(file: Path) -> None:
    assert fault(file, '{\n  "SECRET_KEY": 5}').startswith("config.json, line 2, column 17: secret_key: it should")


def test_a_short_secret_is_refused_and_not_shown(file: Path) -> None:
    for message in (fault(file, SECRET_KEY="hush"), fault(file, '{"SECRET_KEY": "hush"}')):
        assert "at least 32 characters" in message
        assert "hush" not in message


def test_the_hub_token_has_two_names_in_the_environment(file: Path) -> None:
    for name in ("HF_TOKEN", "HUGGINGFACE_TOKEN"):
        settings = load(file, **{name: "hf_1"})
        assert settings.hf_token is not None
        assert settings.hf_token.get_secret_value() == "hf_1"
    assert load(file, HUGGINGFACE_TOKEN="your_hugging_face_token").hf_token is None


def test_the_env_file_beside_the_configuration_is_read(file: Path, clean: None) -> None:
    file.write_text("{}")
    file.with_name(".env").write_text(f"# a comment\nSECRET_KEY='{SECRET}'\nENABLE_SIGNUP=\nENABLE_PUBLIC_TOKEN=1\n")
    settings = load_settings(file)
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == SECRET
    assert (settings.enable_signup, settings.enable_public_token) == (False, True)
    assert "ENABLE_PUBLIC_TOKEN" not in os.environ


def test_the_environment_is_stronger_than_the_env_file(
    file: Path, clean: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("{}")
    file.with_name(".env").write_text("ENABLE_SIGNUP=1\n")
    monkeypatch.setenv("ENABLE_SIGNUP", "")
    assert not load_settings(file).enable_signup


def test_an_env_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_text("{}")
    file.with_name(".env").write_bytes(b"SECRET_KEY=\xff")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        load_settings(file)


def test_the_example_holds_no_secret_and_is_valid(repository: Path, file: Path, clean: None) -> None:
    file.write_text("{}")
    file.with_name(".env").write_bytes((repository / ".env.example").read_bytes())
    settings = load_settings(file)
    assert settings == Settings()


@pytest.mark.parametrize(
    ("host", "proxies", "said", "allowed"),
    [
        ("127.0.0.1", [], None, True),
        ("0.0.0.0", [], None, False),
        ("0.0.0.0", [], True, True),
        ("localhost", [], False, False),
        ("127.0.0.1", ["127.0.0.1"], None, False),
        ("127.0.0.1", ["10.0.0.0/8"], None, False),
        ("127.0.0.1", ["127.0.0.1"], True, True),
    ],
)
def test_any_model_is_allowed_only_to_this_computer_unless_said(
    host: str, proxies: list[str], said: bool | None, allowed: bool
) -> None:
    settings = Settings.model_validate({"host": host, "trusted_proxies": proxies, "any_model": said})
    assert settings.allows_any_model is allowed


@pytest.mark.parametrize("name", ["../etc", "/etc/passwd", "a/b/c", "a b", "", ".", "C:/models", "a/--b", "a/b\n"])
def test_an_allowed_model_is_a_name_on_the_hub(file: Path, name: str) -> None:
    assert "the name of a model on the hub" in fault(file, f'{{"allowed_models": ["{name}"]}}'.replace("\n", "\\n"))


def test_allowed_models_are_read(file: Path) -> None:
    models = load(file, '{"allowed_models": ["CompVis/stable-diffusion-v1-4", "gpt2"]}').allowed_models
    assert models == ("CompVis/stable-diffusion-v1-4", "gpt2")


def test_a_relative_data_folder_starts_at_the_file(file: Path) -> None:
    assert load(file, '{"data": "kept"}').data == file.parent / "kept"


def redis_url(settings: Settings) -> str | None:
    return None if settings.cluster is None else settings.cluster.redis_url.get_secret_value()


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({"REDIS_HOST": "", "REDIS_PORT": "7000"}, None),
        ({"REDIS_HOST": "redis.example"}, "redis://redis.example:6379"),
        ({"REDIS_HOST": "10.0.0.7", "REDIS_PORT": "7000"}, "redis://10.0.0.7:7000"),
        ({"REDIS_HOST": "fd00::7", "REDIS_PASSWORD": "a/b:c@d"}, "redis://:a%2Fb%3Ac%40d@[fd00::7]:6379"),
    ],
)
def test_the_documented_variables_name_the_redis(file: Path, environment: dict[str, str], url: str | None) -> None:
    assert redis_url(load(file, **environment)) == url


def test_the_files_redis_is_stronger_than_the_environments(file: Path) -> None:
    text = '{"cluster": {"redis_url": "redis://one", "tries": 5}}'
    assert redis_url(load(file, text, REDIS_HOST="two")) == "redis://one"
    completed = load(file, '{"cluster": {"tries": 5}}', REDIS_HOST="two")
    assert redis_url(completed) == "redis://two:6379"
    assert completed.cluster is not None
    assert completed.cluster.tries == 5


def test_a_wrong_redis_is_named_and_its_password_is_not(file: Path) -> None:
    message = fault(file, '{"cluster": {"redis_url": "http://:secret@host", "tries": 0}}')
    assert "line 1, column 27: cluster.redis_url: it should be redis://host:6379" in message
    assert "cluster.tries: 0 came" in message
    assert "secret" not in message
    message = fault(file, '{"cluster": {"tries": 0}}', REDIS_HOST="host", REDIS_PORT="no", REDIS_PASSWORD="secret")
    assert "REDIS_HOST, REDIS_PORT, REDIS_PASSWORD: it should be redis://" in message
    assert "line 1, column 23: cluster.tries: 0 came" in message
    assert "secret" not in message
    assert "cluster.redis_url: this key is missing" in fault(file, '{"cluster": {}}')


@pytest.mark.parametrize("place", ["redis", "/srv/pictures", "s3://bucket/folder"])
def test_images_of_a_cluster_have_a_place(file: Path, place: str) -> None:
    cluster = load(file, f'{{"cluster": {{"redis_url": "redis://host", "blobs": "{place}"}}}}').cluster
    assert cluster is not None
    assert cluster.blobs == place


def test_a_place_that_is_none_is_named_and_its_password_is_not(file: Path) -> None:
    message = fault(file, '{"cluster": {"redis_url": "redis://host", "blobs": "user:secret@pictures"}}')
    assert "cluster.blobs: it should be redis, the absolute path of a folder, or a URL" in message
    assert "secret" not in message
