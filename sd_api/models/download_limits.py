"""How large a model from the hub may be, and how much of the disk it may take."""

import shutil
from pathlib import Path

from huggingface_hub import constants

from sd_api.errors import ModelUnavailable
from sd_api.models.memory_values import gigabytes
from sd_api.settings import Limits
from sd_api.storage.disk import kept_free


def check_size(repo_id: str, size: int, limits: Limits) -> None:
    """Refuse a model that is larger than allowed.

    Args:
        repo_id: for the message.
        size: its bytes, as far as they are known.
        limits: of this server.

    Raises:
        ModelUnavailable: it is.
    """
    if size > limits.max_model_bytes:
        raise ModelUnavailable(
            f"{repo_id} has at least {gigabytes(size)}, and {gigabytes(limits.max_model_bytes)} are allowed. "
            "limits.max_model_bytes in the configuration allows more."
        )


def check_disk(repo_id: str, needed: int, limits: Limits) -> None:
    """Refuse a download that the disk of the hub's cache has no room for.

    Args:
        repo_id: for the message.
        needed: the bytes that are to come.
        limits: of this server, with the room that stays free.

    Raises:
        ModelUnavailable: there is none.
    """
    cache = Path(constants.HF_HUB_CACHE)
    # The folder is made by the first download.
    disk = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.is_dir()))
    kept = kept_free(disk.total, limits.min_free_disk_bytes)
    if disk.free - needed < kept:
        raise ModelUnavailable(
            f"The disk is full, so {repo_id} could not be downloaded to {cache}: {gigabytes(needed)} are to come, "
            f"{gigabytes(disk.free)} are free, and {gigabytes(kept)} stay free (limits.min_free_disk_bytes). "
            "Free some space and try again, or set the environment variable HF_HOME to a folder on another disk."
        )
