import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_api.errors import ConfigurationError
from sd_api.settings.document import Document, read_document

KEYS = st.text("a é肖🎨.,:{}[]'", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a é肖🎨,:{}[]"\\/\n\t', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "config.json"


def read(file: Path, text: str) -> Document:
    file.write_bytes(text.encode())
    return read_document(file)


def parts(value: object, location: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], object]]:
    yield location, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from parts(inner, (*location, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from parts(inner, (*location, index))


@given(
    values=st.dictionaries(KEYS, VALUES, max_size=4),
    indent=st.sampled_from([None, 2, "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_positions_point_at_the_values_and_keys(
    file: Path, values: dict[str, object], indent: int | str | None, newline: str
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False).replace("\n", newline)
    document = read(file, text)
    lines = text.split("\n")

    assert document.values == values
    for location, value in parts(values):
        line, column = document.position(location)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value
        if location and isinstance(location[-1], str):
            line, column = document.position(location, of_key=True)
            assert lines[line - 1][column - 1 :].startswith(f'"{location[-1]}"')


def test_what_has_no_place_of_its_own_is_where_its_parent_is(file: Path) -> None:
    document = read(file, '{\n  "a": [\n    {"b": 1, "\\u0063": 2}]}')

    assert document.position(["a", 0, "missing", 3]) == (3, 5)
    assert document.values["a"] == [{"b": 1, "c": 2}]
    assert document.position(["a", 0, "c"]) == (3, 5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"], ids=str)
def test_encodings_that_editors_write(file: Path, encoding: str) -> None:
    file.write_bytes('{"ui_label": "Porträt 🎨",\r\n "x": 1}'.encode(encoding))

    document = read_document(file)

    assert document.values == {"ui_label": "Porträt 🎨", "x": 1}
    assert document.position(["x"]) == (2, 7)
    assert document.position(["ui_label"], of_key=True) == (1, 2)


# The text up to ¦ has no fault; what is wrong stands there.
MALFORMED = [
    (r'{"model_path": "G:¦\My Drive"}', "a single backslash has a special meaning: write each"),
    (r'{"model_path": "C:\¦users"}', "a single backslash has a special meaning: write each"),
    ('{"model_path": "C:\\new\\",¦\n "ui_label": "x"}', r"ends in a backslash, write each backslash"),
    (r'{"model_path": ¦"C:\new\"}', r"ends in a backslash, write each backslash"),
    ('{"ui_label": "My¦\tModel"}', "a tab or control character"),
    ('{"ui_label": ¦"x}', "the closing double quote of this text is missing"),
    ("{¦'hf_token': 1}", "only straight double quotes"),
    ("{\"hf_token\": ¦'x'}", "only straight double quotes"),
    ('{"hf_token": ¦“x”}', "only straight double quotes"),
    ('{"port": 1 ¦// the port\n}', "no comments"),
    ('{¦/* the port */ "port": 1}', "no comments"),
    ('{\n¦# the port\n"port": 1}', "no comments"),
    ('{"port": 1\n ¦"host": "x"}', "a comma is missing before this"),
    ('{"custom_models": [{} ¦{}]}', "a comma is missing before this"),
    ('{"ui_label": "my "¦best" model"}', 'a " inside a text is written \\"'),
    ('{"port": 0¦1}', "here should be a comma, } or ]"),
    ('{"custom_models": [{}], ¦[{}]}', "one flat array of objects"),
    ('{"custom_models": [{}] ¦[{}]}', "one flat array of objects"),
    ('{"custom_models": {"a": 1}, ¦{"b": 2}}', "one flat array of objects"),
    ('{"port" ¦1}', "here should be a colon"),
    ("{¦port: 1}", "a key in double quotes"),
    ('{"host": ¦localhost}', "double quotes around it"),
    ('{"host": ¦}', "here should be a value"),
    ('{"requires_safety_checker": ¦True}', "small letters"),
    ('{"port": 1}¦}', "the file should end here"),
    ('{"custom_models": [\n  {}¦', "ends too early"),
    ("¦", "the file is empty"),
    ("  \n¦", "the file is empty"),
    ("\n ¦[{}]", "the whole file should be one object"),
    ('¦"text"', "the whole file should be one object"),
]


@pytest.mark.parametrize(("marked", "expected"), MALFORMED)
def test_malformed_json_is_explained_at_its_place(file: Path, marked: str, expected: str) -> None:
    before, _, after = marked.partition("¦")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")

    with pytest.raises(ConfigurationError) as caught:
        read(file, before + after)

    (fault,) = caught.value.faults
    assert fault.startswith(f"config.json, line {line}, column {column}: ")
    assert expected in fault


@pytest.mark.parametrize("text", ['{"port": 1,}', '{"a": [1, ]}', '{"a": [\n{}\n,\n]\n}'])
def test_a_trailing_comma_is_explained(file: Path, text: str) -> None:
    # Python before 3.13 stops at the bracket, later ones at the comma.
    with pytest.raises(ConfigurationError, match=r"^config.json, line \d, column \d+: there is a comma after"):
        read(file, text)


def test_the_documented_form_with_several_arrays_is_explained(file: Path) -> None:
    documented = """{
  "hf_token": "your_hugging_face_token",
  "custom_models": [
    {
      "ui_label": "My First Model"
    }
  ],
  [
    {
      "ui_label": "My Second Model"
    }
  ]
}"""
    with pytest.raises(ConfigurationError, match="line 8, column 3: custom_models is one flat array"):
        read(file, documented)


def test_a_byte_that_is_not_utf_8_is_named(file: Path) -> None:
    file.write_bytes('{\n "x": "日本", "ui_label": "Portr'.encode() + "ät".encode("cp1252") + b'"}')

    with pytest.raises(ConfigurationError, match=r"line 2, column 31: the byte 0xE4 is not UTF-8.*save"):
        read_document(file)


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """Python's own limit; Hypothesis raises it, and does not always lower it again."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("usual_recursion_limit")
@pytest.mark.parametrize("depth", [700, 100_000])
def test_deep_nesting_is_a_fault(file: Path, depth: int) -> None:
    with pytest.raises(ConfigurationError, match=r"^config\.json: its brackets are nested too deeply"):
        read(file, '{"a":' * depth + "1" + "}" * depth)


def test_an_endless_number_is_a_fault(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="a number of thousands of digits"):
        read(file, '{"port": ' + "1" * 5000 + "}")


def test_a_missing_file_is_named_in_full_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError) as caught:
        read_document(Path("mine.json"))

    assert str(tmp_path / "mine.json") in caught.value.message
    for help_ in ("copy the template", "--config", "--demo"):
        assert help_ in caught.value.message


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory"):
        read_document(tmp_path)


def test_an_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: |does not exist"):
        read_document(tmp_path / ("x" * 5000))
