import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_api.errors import InvalidField
from sd_api.imaging.base64_text import decode_base64

DATA = bytes(range(256)) * 3  # its base64 holds pluses, slashes and padding
TEXT = base64.b64encode(DATA).decode()
SHORT = "+AA+AAAA"  # base64 whose pluses are easy to see


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "data:image/png;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:;base64,",
        "data:application/octet-stream;base64,",
        'data:image/svg+xml;charset="utf-8";name=a.png;base64,',
        " \n data:image/jpeg;base64, ",
    ],
)
def test_any_data_url_prefix_is_skipped(prefix: str) -> None:
    assert decode_base64("init_image", prefix + TEXT) == DATA


@pytest.mark.parametrize("width", [20, 60, 64, 76, 1024])
@pytest.mark.parametrize("separator", ["\n", "\r\n", " ", "\n    ", " \n", "\t"])
def test_wrapped_text_is_joined(width: int, separator: str) -> None:
    assert decode_base64("init_image", separator.join(textwrap.wrap(TEXT, width))) == DATA


@pytest.mark.parametrize("width", [4, 50, 76])
def test_line_breaks_go_and_spaces_within_lines_are_pluses(width: int) -> None:
    # What `curl -d "init_image=$(base64 picture.png)"` sends, as a form decodes it.
    wrapped = "\n".join(textwrap.wrap(TEXT, width)).replace("+", " ")
    assert decode_base64("init_image", wrapped) == DATA


def test_spaces_at_the_ends_are_not_pluses() -> None:
    assert decode_base64("init_image", f"  {SHORT}\n ") == base64.b64decode(SHORT)


@pytest.mark.parametrize(
    "pieces",
    [
        (40, 39),  # one plus
        (4, 4, 4, 1),  # shorter than any line
        (38, 38, 38, 35),  # equal by chance, but no encoder breaks within a group of four
        (24, 24, 24, 41),  # the last is longer than the others
        (24, 24, 28, 33),
    ],
)
def test_pluses_that_became_spaces_are_not_taken_for_line_breaks(pieces: tuple[int, ...]) -> None:
    text = "+".join("A" * length for length in pieces)
    assert decode_base64("init_image", text.replace("+", " ")) == base64.b64decode(text)


@pytest.mark.parametrize("pluses", [1, 2, 3])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n    "])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("width", [76, 10_000])
def test_pluses_at_the_end_are_not_lost(pluses: int, end: str, prefix: str, width: int) -> None:
    text = "\n".join(textwrap.wrap("B+" * 90 + "A" * (4 - pluses) + "+" * pluses, width))
    assert decode_base64("f", prefix + text.replace("+", " ") + end) == base64.b64decode(text)


def test_pluses_at_the_ends_of_lines_are_not_lost() -> None:
    lines = ["A" * 75 + "+", "A" * 75 + "+", "A" * 39 + "+"]
    for separator in ("\n", "\r\n"):
        text = separator.join(lines)
        assert decode_base64("f", text.replace("+", " ")) == base64.b64decode(text)
        assert decode_base64("f", text.replace("+", " ") + separator) == base64.b64decode(text)


@pytest.mark.parametrize("text", ["AAAA  ", "AAA= ", "AA==  ", " AAAA \n ", "AAAAAA \n", "AAA\n   "])
def test_spaces_after_a_complete_text_are_none(text: str) -> None:
    data = decode_base64("f", text)
    assert data == base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4))


def test_a_plus_at_the_start_of_the_last_line_is_not_lost() -> None:
    assert decode_base64("init_image", "A" * 76 + "\n" + "A" * 76 + "\n AAA")[-3:] == base64.b64decode("+AAA")


def test_lines_without_padding_may_be_wrapped_by_spaces() -> None:
    text = "A" * 76 + " " + "A" * 76 + " AA"
    assert decode_base64("init_image", text) == bytes(115)


@given(data=st.binary(min_size=1, max_size=400))
def test_every_spelling_gives_the_same_bytes(data: bytes) -> None:
    standard = base64.b64encode(data).decode()
    assert decode_base64("f", standard) == data
    assert decode_base64("f", standard.rstrip("=")) == data
    assert decode_base64("f", base64.urlsafe_b64encode(data).decode()) == data
    assert decode_base64("f", "data:image/png;base64," + "\r\n".join(textwrap.wrap(standard, 76))) == data


@given(parts=st.lists(st.binary(max_size=300), min_size=2, max_size=9))
def test_pluses_that_became_spaces_are_restored(parts: list[bytes]) -> None:
    data = b"AAA" + b"\xfb\xef\xbe".join(parts) + b"AAA"  # the middle of it is ++++ in base64
    text = base64.b64encode(data).decode()
    assert decode_base64("f", text.replace("+", " ")) == data


@given(data=st.binary(min_size=1, max_size=300), tail=st.sampled_from([b"\xfb\xef\xbe", b"\x03\xef\xbe", b"\0\0\x3e"]))
def test_every_text_that_a_form_has_changed_is_read(data: bytes, tail: bytes) -> None:
    data = b"GIF\xfb\xef\xbe" + data + bytes(-len(data) % 3) + tail
    text = base64.b64encode(data).decode()
    if not text.endswith("++++"):  # four of them leave no trace
        assert decode_base64("f", text.replace("+", " ")) == data


@pytest.mark.parametrize("text", ["", "  \n", "data:image/png;base64,", "===="])
def test_nothing_is_named_so(text: str) -> None:
    with pytest.raises(InvalidField, match=r"^init_image is empty"):
        decode_base64("init_image", text)


@pytest.mark.parametrize(
    ("text", "start", "foreign"),
    [
        ("C:\\pictures\\holiday 1.png", "C:\\\\pictures\\\\holi", "':'"),
        ("https://example.org/a.png", "https://example.", "':'"),
        ("data:image/png,AAAA", "data:image/png,A", "':'"),
        ("héllo\x00\ud800", "h\\xe9llo\\x00\\ud800", "'\\xe9'"),
        ("AA=AA", "AA=AA", "'='"),
    ],
)
def test_other_text_is_refused_with_how_it_starts(text: str, start: str, foreign: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        decode_base64("mask_image", text)
    assert refusal.value.status == 400
    assert refusal.value.message == f"mask_image is not base64: it starts with '{start}' and holds {foreign}"


def test_text_that_was_cut_off_is_refused() -> None:
    with pytest.raises(InvalidField, match="init_image is incomplete base64, 5 characters"):
        decode_base64("init_image", "AAAAA")


@given(text=st.text(max_size=60))
def test_any_text_gives_bytes_or_a_refusal(text: str) -> None:
    message = ""
    try:
        assert decode_base64("f", text)
    except InvalidField as refusal:
        message = refusal.message
    assert message.isascii()
    assert message.isprintable()
