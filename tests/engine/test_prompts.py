"""Prompts that are longer than what a model reads."""

from collections.abc import Callable
from typing import Any

import pytest
from requested import request
from running import generate

from sd_api.settings import Settings
from sd_api.wiring import build_engine

# A token each, with the space before it.
LONG = "a dog " + " ".join("x" * 100)


@pytest.fixture(scope="module")
def engine(make_settings: Callable[..., Settings]) -> Any:
    engine = build_engine(make_settings())
    engine.load()
    return engine


def warnings_of(engine: Any, prompt: str, negative_prompt: str = "") -> tuple[str, ...]:
    return generate(engine, request(prompt, negative_prompt=negative_prompt)).warnings


def test_a_prompt_that_fits_has_no_warning(engine: Any) -> None:
    tokenizer = engine._library.get(None).parts.pipeline.tokenizer
    longest = " ".join(["x"] * (tokenizer.model_max_length - 2))
    assert len(tokenizer(longest).input_ids) == tokenizer.model_max_length
    assert warnings_of(engine, longest, longest) == ()
    (warning,) = warnings_of(engine, longest + " y")
    assert "“y”" in warning


def test_the_answer_says_what_was_not_read_and_of_which_prompt(engine: Any) -> None:
    (warning,) = warnings_of(engine, "a dog", negative_prompt=LONG + " and a very last cat")
    assert warning.startswith("negative_prompt: this model reads 75 tokens")
    assert warning.endswith("and a very last cat”")


def test_a_very_long_rest_is_shortened(engine: Any) -> None:
    (warning,) = warnings_of(engine, LONG * 10)
    assert warning.endswith("…”")
    assert len(warning) < 400
