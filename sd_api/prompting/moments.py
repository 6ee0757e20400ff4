"""When something of a prompt begins or ends to act: after a share of the steps, or after a number of them."""

import re
from fractions import Fraction

When = Fraction | int
"""A share of the steps, or their number."""

WHEN = re.compile(r"\s*(\d{1,6}|\d{0,6}\.\d{1,20}|\d{1,6}\.)\s*", re.ASCII)


def when(text: str) -> When:
    """What a number that matches ``WHEN`` means: a share where it has a point and is no more than 1, else steps."""
    number = Fraction(text)
    return number if "." in text and number <= 1 else int(number)


def first_step(moment: When, steps: int) -> int:
    """The first step, counted from 0, that is not before a moment."""
    return int(moment * steps) if isinstance(moment, Fraction) else moment
