"""The words that were trained, by the names of their files; knows no torch."""

from sd_api.models.folders import EMBEDDING, FoundFile, ModelFolders


def list_embeddings(folders: ModelFolders) -> dict[str, FoundFile]:
    """The embeddings of textual inversion by the words that name them: their files' names."""
    return {file.name.rpartition("/")[2]: file for file in folders.files(EMBEDDING)}
