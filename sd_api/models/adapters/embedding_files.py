"""The words that were trained, by the names of their files; knows no torch."""

import re
from collections.abc import Mapping

from sd_api.models.folders import EMBEDDING, FoundFile, ModelFolders

Named = Mapping[str, FoundFile]
"""Embeddings by their names in lower case."""


def list_embeddings(folders: ModelFolders) -> dict[str, FoundFile]:
    """The embeddings of textual inversion by the words that name them: their files' names."""
    return {file.name.rpartition("/")[2]: file for file in folders.files(EMBEDDING)}


def named_files(folders: ModelFolders) -> Named:
    """The embeddings that are there now, by the words that name them in any case of letters."""
    return {word.lower(): file for word, file in list_embeddings(folders).items()}


def named_in(text: str, files: Named) -> Named:
    """The embeddings whose names stand as words in a text."""
    lower = text.lower()
    # Few of many names are in it at all, and an expression for each would take a while.
    there = {name: file for name, file in files.items() if name in lower}
    return {name: file for name, file in there.items() if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", lower)}
