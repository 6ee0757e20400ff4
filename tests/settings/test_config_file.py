import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_api.errors import ConfigurationError
from sd_api.settings import CustomModel, Limits, Settings, load_settings

REPOSITORY = Path(__file__).parents[2]
TOKEN = "hf_ThisIsNobodysToken123456"
KEYS = st.sampled_from([*Settings.model_fields, *CustomModel.model_fields, *Limits.model_fields, "", "\n/"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a/.:~\\\n\x00\ud800é*", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MODEL = '{"model_path": "m", "ui_label": "x", "url_path": "%s"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def load(
    file: Path,
    text: str,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, overrides or {}, environment or {})


def faults(file: Path, text: str, **given: Mapping[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(file, text, **given)
    return list(caught.value.faults)


def token_of(settings: Settings) -> str | None:
    return settings.hf_token.get_secret_value() if settings.hf_token else None


def test_the_template_means_the_defaults() -> None:
    assert load_settings(REPOSITORY / "config.json", environment={}) == Settings()


def test_the_template_for_custom_models() -> None:
    settings = load_settings(REPOSITORY / "config-custom-models.json", environment={})

    (model,) = settings.custom_models
    assert settings.hf_token is None
    assert model.model_path == Path("/path/to/directory/containing/model_index.json")
    assert (model.ui_label, model.url_path) == ("My First Model", "my_first_model")
    assert model.requires_safety_checker is True


def test_no_file_means_the_defaults_and_the_overrides() -> None:
    assert load_settings(None, {"port": 0}, environment={}) == Settings(port=0)


@pytest.mark.parametrize(
    "path",
    [
        "mine",
        "my models/ポートレート.safetensors",
        "../mine",
        r"G:\\My Drive\\mine",
        r"\\\\server\\share",
        "G:/mine",
    ],
)
def test_relative_model_paths_start_at_the_files_directory(file: Path, path: str) -> None:
    settings = load(file, '{"custom_models": [' + MODEL.replace('"m"', f'"{path}"') % "p" + "]}")

    assert settings.custom_models[0].model_path == file.parent / json.loads(f'"{path}"')


def test_the_home_directory_is_expanded(file: Path) -> None:
    settings = load(file, '{"model": "~/sd", "custom_models": [' + MODEL.replace('"m"', '"~/m"') % "p" + "]}")

    assert settings.model == str(Path.home() / "sd")
    assert settings.custom_models[0].model_path == Path.home() / "m"


def test_a_main_model_that_exists_beside_the_file_is_local(file: Path) -> None:
    (file.parent / "my model").mkdir()

    assert load(file, '{"model": "./my model"}').model == str(file.parent / "my model")
    assert load(file, '{"model": "org/my-model"}').model == "org/my-model"
    assert load(file, '{"model": "/nowhere/model.ckpt"}').model == "/nowhere/model.ckpt"


def test_a_relative_model_on_the_command_line_starts_at_the_working_directory(
    file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for directory in (elsewhere, file.parent):
        (directory / "mine").mkdir()
    monkeypatch.chdir(elsewhere)

    assert load(file, "{}", {"model": "mine"}).model == str(elsewhere / "mine")


@pytest.mark.parametrize(
    ("in_file", "in_environment", "expected"),
    [
        ('"hf_file"', "hf_environment", "hf_file"),
        ('"your_hugging_face_token"', "hf_environment", "hf_environment"),
        ('" "', "hf_environment\n", "hf_environment"),
        ("null", "", None),
    ],
)
def test_the_environments_token_fills_in_for_the_files(
    file: Path, in_file: str, in_environment: str, expected: str | None
) -> None:
    settings = load(file, f'{{"hf_token": {in_file}}}', environment={"HF_TOKEN": in_environment})

    assert token_of(settings) == expected


def test_the_process_environment_is_read_when_none_is_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("{}")
    monkeypatch.setenv("HF_TOKEN", "hf_process")

    assert token_of(load_settings(file)) == "hf_process"


def test_overrides_are_stronger_than_the_file_and_none_means_not_given(file: Path) -> None:
    settings = load(file, '{"port": 99999, "host": "a"}', {"port": 0, "host": None, "device": "cpu"})

    assert (settings.port, settings.host, settings.device) == (0, "a", "cpu")


# Each fault stands at ¦, and its line reads on as given.
FAULTS = [
    ('{"port": ¦70000}', "port: 70000 came, but it should be less than or equal to 65535 (the port to"),
    ('{"port": ¦true}', "port: true came, but it should be a whole number"),
    ('{"limits": {"max_width": ¦NaN}}', "limits.max_width: NaN came, but it should be a whole number"),
    ('{"limits": {"max_width": ¦-Infinity}}', "limits.max_width: -Infinity came, but it should be"),
    ('{"limits": {"max_width": ¦1e999}}', "limits.max_width: Infinity came, but it should be"),
    ('{"limits": {¦"max_hight": 5}}', "limits.max_hight: this key is unknown; did you mean max_height?"),
    ('{"limits": ¦[]}', "limits: an array came, but it should be an object"),
    ('{"device": ¦"gpu"}', 'device: "gpu" came, but it should be auto, cpu, mps, cuda'),
    (r'{"device": ¦"\ud800\u2028é"}', r'device: "\ud800\u2028\u00e9" came, but it should be auto'),
    ('{"device": ¦"' + "é" * 500 + '"}', f'device: "{"é" * 59}… came, but it should be auto'),
    ('{"memory": ¦"high"}', "memory: \"high\" came, but it should be 'auto', 'fast' or 'low'"),
    ('{"dtype": ¦null}', "dtype: null came, but it should be 'auto', 'fp32', 'fp16' or 'bf16'"),
    (r'{"model": ¦"\u0000\u0000"}', r'model: "\u0000\u0000" came, but it contains the control'),
    ('{"requires_safety_checker": ¦"yes?"}', 'requires_safety_checker: "yes?" came, but it should be true'),
    ('{\n\t¦"custom_model": []}', "custom_model: this key is unknown; did you mean custom_models?"),
    ('{¦"hftoken": "x"}', "hftoken: this key is unknown; did you mean hf_token?"),
    ('{¦"HF_TOKN": "x"}', "HF_TOKN: this key is unknown; did you mean hf_token?"),
    ('{¦"//": "x"}', '"//": this key is unknown; known here: hf_token, custom_models, model,'),
    ('{"port": 1,\n "port": 2, ¦"port": 3}', "port: this key comes more than once"),
    ('{"custom_models": [], ¦"custom_models": []}', "custom_models: this key comes more than once"),
    ('{"custom_models": ¦{}}', "custom_models: an object came, but it should be an array: [ … ] (your own"),
    ('{"custom_models": [¦[]]}', "custom_models[0]: an array came, but it should be an object: { … } (your"),
    ('{"allowed_hosts": ["a", ¦"http://b"]}', 'allowed_hosts[1]: "http://b" came, but it should be the name'),
    ('{"allowed_origins": [¦"*"]}', 'allowed_origins[0]: "*" came, but it should be scheme://host or'),
    ('{"hf_token": ¦123}', "hf_token: it should be a text in double quotes (the Hugging Face access token"),
]
MODEL_FAULTS = [
    (
        '"model_path": ¦"C:\\new"',
        r'model_path: "C:\new" came, but it contains the control character U+000A: write',
    ),
    (
        '"model_path": ¦5',
        "model_path: 5 came, but it should be a text in double quotes (the model's diffusers",
    ),
    ('"ui_label": ¦" "', 'ui_label: " " came, but it should not be empty (the model\'s name as'),
    ('"url_path": ¦"My Model"', 'url_path: "My Model" came, but it should be letters from A to Z, digits'),
    ('¦"urlpath": "p"', "urlpath: this key is unknown; did you mean url_path?"),
    ('¦"label": "p"', "label: this key is unknown; did you mean ui_label?"),
]


def check_fault(file: Path, marked: str, expected: str) -> None:
    before, _, after = marked.partition("¦")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")

    (fault,) = faults(file, before + after)

    assert fault.startswith(f"config.json, line {line}, column {column}: {expected}")
    assert fault.isprintable()


@pytest.mark.parametrize(("marked", "expected"), FAULTS)
def test_a_fault_is_named_at_its_place(file: Path, marked: str, expected: str) -> None:
    check_fault(file, marked, expected)


@pytest.mark.parametrize(("marked", "expected"), MODEL_FAULTS)
def test_a_fault_in_a_custom_model_is_named_at_its_place(file: Path, marked: str, expected: str) -> None:
    entries = {"model_path": '"m"', "ui_label": '"x"', "url_path": '"p"'}
    others = [f'"{name}": {value}' for name, value in entries.items() if name not in marked]
    second = ", ".join([*others, marked])

    check_fault(file, f'{{"custom_models": [{MODEL % "first"},\n {{{second}}}]}}', f"custom_models[1].{expected}")


def test_a_missing_key_is_named_at_its_object(file: Path) -> None:
    check_fault(
        file,
        '{"custom_models": [\n ¦{"model_path": "m", "ui_label": "x"}]}',
        "custom_models[0].url_path: this key is missing (the model's address",
    )


def test_a_repeated_url_path_is_named_with_both_lines(file: Path) -> None:
    check_fault(
        file,
        '{"custom_models": [' + MODEL % "p" + ",\n" + MODEL.replace('"%s"', '¦"p"') + "]}",
        'custom_models[1].url_path: "p" came, but custom_models[0].url_path in line 1 has it already',
    )


def test_all_faults_come_at_once_in_the_files_order_and_then_the_command_lines(file: Path) -> None:
    text = """{
  "device": "gpu",
  "custom_models": [
    {"model_path": "m", "ui_label": "x", "url_path": "p"},
    {"model_path": "", "ui_label": "x", "url_path": "p"}
  ],
  "portt": 5,
  "dtype": "fp64",
  "host": ""
}"""
    found = faults(file, text, overrides={"port": 70000, "allowed_hosts": ["a/b"]}, environment={"HF_TOKEN": "a b"})

    assert [fault.split(": ")[:2] for fault in found[:6]] == [
        ["config.json, line 2, column 13", "device"],
        ["config.json, line 5, column 20", "custom_models[1].model_path"],
        ["config.json, line 5, column 53", "custom_models[1].url_path"],
        ["config.json, line 7, column 3", "portt"],
        ["config.json, line 8, column 12", "dtype"],
        ["config.json, line 9, column 11", "host"],
    ]
    assert sorted(fault.split(": ")[0] for fault in found[6:]) == ["--allowed-hosts", "--port", "HF_TOKEN"]


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_an_unusable_file_does_not_hide_the_command_lines_faults(file: Path, text: str | None) -> None:
    if text:
        file.write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, {"port": -1}, {})

    assert len(caught.value.faults) == 2
    assert caught.value.faults[1].startswith("--port: -1 came, but it should be greater than or equal to 0")


@pytest.mark.parametrize(
    "text",
    [
        '{"hf_token": ["TOKEN"]}',
        '{"hf_token": {"TOKEN": "TOKEN"}}',
        '{"hf_token": "TOKEN TOKEN"}',
        '{"hf_token": "TOKEN", "hf_token": "TOKEN"}',
        '{"hftoken": "TOKEN"}',
        '{"TOKEN": 1}',
        '{"device": "TOKEN"}',
        '{"custom_models": "TOKEN"}',
        '{"hf_token": "TOKEN" "port": 1}',
        '{"hf_token": "TOKEN}',
        "{'hf_token': 'TOKEN'}",
        '{"hf_token": TOKEN}',
    ],
)
def test_no_fault_shows_the_token(file: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(file, text.replace("TOKEN", TOKEN))

    assert TOKEN not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None


def test_the_environments_token_is_not_shown_either(file: Path) -> None:
    (fault,) = faults(file, "{}", environment={"HF_TOKEN": f"{TOKEN} é"})

    assert fault.startswith("HF_TOKEN: it should consist of plain letters")
    assert TOKEN not in fault


@given(
    st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"{\0", b'{"']),
    st.binary(),
)
def test_any_bytes_that_are_no_json_are_one_fault(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.json"
    file.write_bytes(start + rest + b"}]")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, environment={})

    assert len(caught.value.faults) == 1


@given(st.dictionaries(KEYS, ANYTHING, max_size=4))
def test_any_values_are_settings_or_printable_faults(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    file = tmp_path_factory.getbasetemp() / "values.json"
    file.write_text(json.dumps(values))

    faults: tuple[str, ...] = ()
    try:
        load_settings(file, environment={})
    except ConfigurationError as error:
        faults = error.faults

    assert all(fault.startswith("values.json, line 1, column ") and fault.isprintable() for fault in faults)
    assert len(faults) >= len(values.keys() - Settings.model_fields)
