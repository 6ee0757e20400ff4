"""The configuration of an architecture that this package has none of: small files of a repository, fetched once."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from sd_api.errors import ModelUnavailable
from sd_api.models import hub
from sd_api.models.architectures import Architecture
from sd_api.models.sources import MODEL_INDEX

CONFIG_FILES = ["*.json", "*.txt", "*.model"]


def fetch_config(path: Path, architecture: Architecture, token: str | None) -> Path:
    """The folder with the configuration of a file's architecture, in the hub's cache.

    Args:
        path: the file, for the message.
        architecture: what it is of.
        token: for the hub.

    Raises:
        ModelUnavailable: it is neither here nor to be had.
    """
    repo_id = architecture.repo_id
    with suppress(FileNotFoundError):
        return _snapshot(repo_id, local_files_only=True)
    try:
        with hub.conversation(repo_id, token):
            return _snapshot(repo_id, token=token)
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"{path} is a {architecture.name} model, which needs the small configuration files of "
            f"https://huggingface.co/{repo_id} once; from then on it needs no network. {error.message}"
        ) from None


def _snapshot(repo_id: str, **options: Any) -> Path:
    folder = Path(snapshot_download(repo_id, allow_patterns=CONFIG_FILES, **options))
    if not (folder / MODEL_INDEX).is_file():
        # Without network, the library also returns a folder into which only single files were downloaded.
        raise FileNotFoundError(folder / MODEL_INDEX)
    return folder
