"""Which names of users are one name."""

import unicodedata
from collections.abc import Sequence

from sd_api.errors import NameTaken
from sd_api.storage.protocols import User


def folded(name: str) -> str:
    """A name without the differences that people do not see or type: case, width, and how accents are put together."""
    # Folding may undo the normal form, and normalizing may bring letters that can be folded.
    text = unicodedata.normalize("NFKC", name)
    while (next_ := unicodedata.normalize("NFKC", text.casefold())) != text:
        text = next_
    return text


def chosen(name: str, alike: Sequence[User]) -> User | None:
    """The user that a name means.

    Args:
        name: the name as it was typed.
        alike: the users whose names are the same when folded. There is one; earlier versions took several that differ
            in case only, and each of these is found by its exact name alone.
    """
    if len(alike) == 1:
        return alike[0]
    return next((user for user in alike if user.name == name), None)


def taken(name: str) -> NameTaken:
    """The error for a name that a user has already."""
    return NameTaken(f"There is a user {name!r} already; choose another username.")
