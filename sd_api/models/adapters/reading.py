"""What the header of a file tells is read once, until the file changes; so is why a file cannot be used."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

from sd_api.models.bounded_files import FileFaultError
from sd_api.models.folders import MAX_SEEN, FoundFile

Header = TypeVar("Header")


def once(read: Callable[[FoundFile], Header]) -> Callable[[FoundFile], Header]:
    """A function that reads a file once, also where ``read`` raises FileFaultError or ValueError.

    It remembers as many files as are listed of a folder: fewer would all be read anew for each list.
    """

    @lru_cache(maxsize=MAX_SEEN)
    def outcome(file: FoundFile) -> Header | FileFaultError | ValueError:
        try:
            return read(file)
        except (FileFaultError, ValueError) as error:
            return error.with_traceback(None)

    @wraps(read)
    def read_once(file: FoundFile) -> Header:
        found = outcome(file)
        if isinstance(found, FileFaultError | ValueError):
            raise found.with_traceback(None)
        return found

    return read_once
