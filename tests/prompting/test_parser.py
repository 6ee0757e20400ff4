"""What prompts say, in tables, and what holds for every text."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_api.prompting.choices import chosen
from sd_api.prompting.faults import PromptFault
from sd_api.prompting.loras import loras_of_json
from sd_api.prompting.parser import MAX_TERMS, parse, parse_plain
from sd_api.prompting.prompt import Break, Lora, Pieces, Prompt

MORE, LESS = 1.1, 1 / 1.1


def weights(pieces: Pieces) -> list[tuple[str, Any]]:
    return [
        ("BREAK", -1) if isinstance(piece, Break) else (piece.text, pytest.approx(piece.weight)) for piece in pieces
    ]


def at(prompt: Prompt, step: int, steps: int) -> str:
    (pieces,) = prompt.at(step, steps)
    return "".join("|" if isinstance(piece, Break) else piece.text for piece in pieces)


# The first eight are those of A1111's documentation, with the weights computed by hand.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", MORE), (" word", 1)]),
        ("(unbalanced", [("unbalanced", MORE)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", MORE)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.3 * MORE * MORE),
                (" ", MORE),
                ("on", 1),
                (" a ", MORE),
                ("hill", 0.55),
                (", sun, ", MORE),
                ("sky", MORE**4),
                (".", MORE),
            ],
        ),
        ("((a][:b:c [d]", [("a]", MORE**2), (":b:c ", MORE), ("d", MORE * LESS)]),
        ("a [unbalanced", [("a ", 1), ("unbalanced", LESS)]),
        ("[less] and [[least]]", [("less", LESS), (" and ", 1), ("least", LESS**2)]),
        ("(a : 1.25 ) (b:-1) (c:.5)", [("a ", 1.25), (" ", 1), ("b", -1), (" ", 1), ("c", 0.5)]),
        ("(16:9:1.2)", [("16:9", 1.2)]),
        (r"(16\:9)", [("16:9", MORE)]),
        ("(a:b) :) 3:4", [("a:b", MORE), (" :) 3:4", 1)]),
        (r"C:\new \\ \(", [("C:\\new \\ (", 1)]),
        ("a {b} c", [("a {b} c", 1)]),
        ("(mis [nested) here]", [("mis ", MORE), ("nested here]", 1)]),
        (
            "a BREAK (b BREAK c:2) BREAKER",
            [("a ", 1), ("BREAK", -1), (" ", 1), ("b ", 2), ("BREAK", -1), (" c", 2), (" BREAKER", 1)],
        ),
        ("dog <lora:x(1):0.5> (cat)", [("dog  ", 1), ("cat", MORE)]),
        ("", []),
    ],
)
def test_every_token_has_its_weight(text: str, expected: list[tuple[str, float]]) -> None:
    (pieces,) = parse(text).at(0, 10)
    assert weights(pieces) == expected


# Most of them are those of A1111's documentation.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test", ["test"] * 10),
        ("a [b:3]", ["a "] * 3 + ["a b"] * 7),
        ("a [b: 3]", ["a "] * 3 + ["a b"] * 7),
        ("a [[[b]]:2]", ["a "] * 2 + ["a b"] * 8),
        ("[(a:2):3]", [""] * 3 + ["a"] * 7),
        ("a [b : c : 1] d", ["a b  d"] + ["a  c  d"] * 9),
        ("a[b:[c:d:2]:1]e", ["abe", "ace"] + ["ade"] * 8),
        ("a [b:.5] c", ["a  c"] * 5 + ["a b c"] * 5),
        ("[from:to:0.4]", ["from"] * 4 + ["to"] * 6),
        ("[added::0.5]", ["added"] * 5 + [""] * 5),
        ("[:later:1.0]", [""] * 10),
        ("[a:b:12]", ["a"] * 10),
        ("[a|(b:1.1)]", ["a", "b"] * 5),
        ("[fe|]male", ["female", "male"] * 5),
        ("[fe|||]male", ["female", "male", "male", "male"] * 2 + ["female", "male"]),
        ("[one,two,0.4]", ["one", "two", "one", "two", "two"] * 2),
        ("[one, two, 0.5]", ["one", " two"] * 5),
        ("[one,two,3]", ["one,two,3"] * 10),
        ("[a:<lora:x:1>b:2]", ["a"] * 2 + ["b"] * 8),
        ("[a:b:c:2]", ["a:b:c:2"] * 10),
    ],
)
def test_every_step_has_its_words(text: str, expected: list[str]) -> None:
    prompt = parse(text)
    assert [at(prompt, step, 10) for step in range(10)] == expected
    assert prompt.changes == (len(set(expected)) > 1 or ":1" in text)


def test_prompts_are_joined() -> None:
    prompt = parse("a (cat:1.2):1.5 AND a HAND AND [a AND b:c:3]:-0.5 <lora:x:0.5> <lyco:y>")
    assert [term.weight for term in prompt.terms] == [1.5, 1, -0.5]
    assert [[piece.text for piece in pieces if not isinstance(piece, Break)] for pieces in prompt.at(0, 9)] == [
        ["a ", "cat"],
        [" a HAND "],
        [" a AND b"],
    ]
    assert prompt.loras == (Lora("x", 0.5, 0.5), Lora("y"))
    assert prompt.plain == "a cat,  a HAND ,  c"
    assert prompt.devices == ("weights", "schedules", "AND", "LoRAs")
    assert [term.weight for term in parse("16:9").terms] == [1]
    assert len(parse("a AND b", negative=True).terms) == 1


def test_a_lora_has_two_weights() -> None:
    tags = "<lora:a><lora:b:0.5><lora:c:0.5:2><lora:d:te=0.25:unet=-1>"
    assert parse(tags).loras == (Lora("a"), Lora("b", 0.5, 0.5), Lora("c", 0.5, 2.0), Lora("d", -1.0, 0.25))
    assert at(parse(r"\<lora:a>"), 0, 1) == "<lora:a>"


@pytest.mark.parametrize(
    ("tag", "json", "steps"),
    [
        ("<lora:a:from=0.25>", '{"a": {"from": 0.25}}', range(2, 10)),
        ("<lora:a:to=3>", '{"a": {"to": 3}}', range(3)),
        ("<lora:a:from=2:to=0.5>", '{"a": {"from": 2, "to": 0.5}}', range(2, 5)),
        ("<lora:a:to=1.0>", '{"a": {"to": 1.0}}', range(10)),
        ("<lora:a:from=7:to=3>", '{"a": {"from": 7, "to": 3}}', range(0)),
    ],
)
def test_a_lora_may_act_in_some_steps(tag: str, json: str, steps: range) -> None:
    (lora,) = parse(tag).loras
    assert loras_of_json(json, 100) == (lora,)
    assert [step for step in range(10) if lora.acts(step, 10)] == list(steps)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("[<lora:a>:<lora:b>:0.5]", {"a": range(5), "b": range(5, 10)}),
        ("([an (ink<lora:a>:0.4) drawing:photo:3])", {"a": range(3)}),
        ("[<lora:a:from=1>|b]", {"a": range(2, 10, 2)}),
        ("[[<lora:a>::8]:[<lora:b>|<lora:c>]:6]", {"a": range(6), "b": (6, 8), "c": (7, 9)}),
        ("[<lora:a>,x,0.4] <lora:a>", {"a": (0, 2, 5, 7, *range(10))}),
        ("a AND [b<lora:a>::2]:0.5 <lora:b>", {"a": range(2), "b": range(10)}),
        ("[<lora:a>]", {"a": range(10)}),
        ("[<lora:a>:", {"a": range(10)}),
    ],
)
def test_a_lora_acts_where_the_text_around_it_does(text: str, steps: dict[str, Iterable[int]]) -> None:
    acting: dict[str, list[int]] = {}
    for lora in parse(text).loras:
        acting.setdefault(lora.name, []).extend(step for step in range(10) if lora.acts(step, 10))
    assert acting == {name: list(numbers) for name, numbers in steps.items()}


@pytest.mark.parametrize(
    "value", ['{"from": -1}', '{"to": "1"}', '{"from": true}', '{"to": 1.5}', '{"until": 1}', "[]"]
)
def test_a_lora_that_is_no_weight_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be a JSON object"):
        loras_of_json(f'{{"a": {value}}}', 100)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("a (dog:101)", 7, "from -100 to 100"),
        ("a <lora:x:often> dog", 2, "'often' is no weight"),
        ("<lora::1>", 0, "write <lora:name>"),
        ("<lora:a:1:1:1>", 0, "write <lora:name>"),
        ("<lora:a:999>", 0, "from -100 to 100"),
        ("<lora:a:from=soon>", 0, "no share and no number of steps"),
        ("x" + "(" * 50, 41, "nested more than 40"),
        (" AND ".join("x" * (MAX_TERMS + 1)), 6 * MAX_TERMS - 1, "at most 8"),
    ],
)
def test_a_fault_has_its_place(text: str, at: int, words: str) -> None:
    with pytest.raises(PromptFault) as fault:
        parse(text)
    assert fault.value.at == at
    assert f"at character {at + 1} " in fault.value.sentence(text)
    assert words in fault.value.sentence(text)


def test_a_lora_in_a_negative_prompt_is_a_fault() -> None:
    with pytest.raises(PromptFault) as fault:
        parse("blue <lora:a>", negative=True)
    assert fault.value.at == 5


def test_choices_are_the_seeds() -> None:
    text = "{red|blue} {a|{b|c}|[d|e]} {x} ({w:1.2|y}) \\{no|no}"
    seen = {chosen(text, str(seed)) for seed in range(100)}
    assert len(seen) == 2 * 4 * 2
    assert chosen(text, "7") == chosen(text, "7")
    assert all(one.endswith(" \\{no|no}") and " {x} " in one for one in seen)
    assert any("[d|e]" in one for one in seen)
    assert chosen("<lora:{a|b}:{1|0.5}>", "1") in {
        f"<lora:{name}:{weight}>" for name in "ab" for weight in ("1", "0.5")
    }


SIGNS = st.text(alphabet="ab1.:,|()[]{}<>\\ \n", max_size=40)


@given(SIGNS, st.integers(0, 9))
def test_every_text_is_read_or_has_a_fault_with_a_place(text: str, step: int) -> None:
    picked = chosen(text, "5")
    assert chosen(text, "5") == picked
    try:
        prompt = parse(picked)
    except PromptFault as error:
        fault = error
    else:
        assert len(prompt.at(step, 10)) == len(prompt.terms) >= 1
        left = "".join(piece.text for pieces in prompt.at(step, 10) for piece in pieces if not isinstance(piece, Break))
        # Nothing is said that the text does not say, in its order.
        rest = iter(text)
        assert all(character in rest for character in left)
        return
    assert 0 <= fault.at <= len(picked)


@given(st.text(st.characters(exclude_characters="()[]{}\\<"), max_size=60))
def test_a_text_without_marks_is_itself(text: str) -> None:
    if "AND" not in text and "BREAK" not in text:
        assert parse(chosen(text, "1")) == parse_plain(text)


@pytest.mark.parametrize("sign", ["[", "(]", "{|", "[(", "<lora:", ":", "[a:", "}])", "\\", "{a|", "[a|b:1", "AND "])
def test_long_nonsense_costs_little(sign: str) -> None:
    started = time.perf_counter()
    with suppress(PromptFault):
        parse(chosen(sign * (8000 // len(sign)), "1"))
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        "(" * 40 + ":" + "1" * 20_000 + "x" + ")" * 40,
        "<lora:a:" + "1" * 20_000 + "x>",
        "(a) AND " * 5_000,
        "(" + "AND ()" * 5_000 + ")",
        "[[a|b]:c:3]" * 2_000,
        "(a:" + " " * 20_000 + "1x)",
    ],
    ids=["weights", "weight of a LoRA", "AND", "AND in brackets", "changes", "spaces"],
)
def test_a_long_prompt_takes_as_long_as_its_length(text: str) -> None:
    started = time.thread_time()
    with suppress(PromptFault):
        parse(text)
    assert time.thread_time() - started < 2
