"""Fetches models from the Hugging Face hub, and says exactly why where that fails."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever of its two it uses

from sd_api.errors import ModelUnavailable
from sd_api.settings import Settings

log = logging.getLogger(__name__)

DEMO_HINT = "Or start with the built-in model: python server.py --demo"


def token_of(settings: Settings) -> str | None:
    """The token in the clear, as the hub library wants it."""
    return settings.hf_token.get_secret_value() if settings.hf_token else None


def cached(repo_id: str) -> Path | None:
    """The folder of a model that was downloaded whole before; None where it was not."""
    try:
        return Path(DiffusionPipeline.download(repo_id, local_files_only=True))
    except FileNotFoundError:
        return None


def download(repo_id: str, token: str | None) -> Path:
    """Bring a model into the hub's cache on this machine; continues what was broken off.

    Args:
        repo_id: for example ``stable-diffusion-v1-5/stable-diffusion-v1-5``.
        token: for gated and private models; None uses the hub's own login, where there is one.

    Returns:
        The folder with ``model_index.json``.

    Raises:
        ModelUnavailable: with the one reason for it, and what to do.
    """
    check_access(repo_id, token)
    log.info("Downloading %s from the Hugging Face hub", repo_id)
    with _explained(repo_id, token):
        return Path(DiffusionPipeline.download(repo_id, token=token))


def check_access(repo_id: str, token: str | None) -> None:
    """Ask the hub whether a model exists, is a diffusers model and may be fetched.

    Raises:
        ModelUnavailable: with the one reason for it, and what to do.
    """
    api = HfApi(token=token)
    with _explained(repo_id, token):
        # Asked first: diffusers reports every one of these faults as "not cached".
        files = {sibling.rfilename for sibling in api.model_info(repo_id).siblings or ()}
        api.auth_check(repo_id)
    if "model_index.json" not in files:
        raise ModelUnavailable(
            f"{repo_id} is on the Hugging Face hub, but it is not a diffusers model: it has no model_index.json. "
            "If it holds a single .safetensors file, download that and give its path as the model."
        )


def fetch_files(repo_id: str, token: str | None) -> Path:
    """Bring a repository that is not a whole pipeline into the cache, if it is not there yet.

    Raises:
        ModelUnavailable: with the one reason for it, and what to do.
    """
    patterns = ["*.json", "*.safetensors"]
    try:
        return Path(snapshot_download(repo_id, allow_patterns=patterns, local_files_only=True))
    except FileNotFoundError:
        with _explained(repo_id, token):
            return Path(snapshot_download(repo_id, allow_patterns=patterns, token=token))


@contextmanager
def _explained(repo_id: str, token: str | None) -> Iterator[None]:
    """Translate what the hub and the network raise into words for the person at the terminal."""
    page = f"https://huggingface.co/{repo_id}"
    has_token = "The token that the server has was sent" if token else "The server has no token (hf_token)"
    try:
        yield
    except GatedRepoError:
        raise ModelUnavailable(
            f"{repo_id} is gated. Open {page}, accept its terms while logged in, then put a token of the "
            f"same account into hf_token. {has_token}. {DEMO_HINT}"
        ) from None
    except DisabledRepoError:
        raise ModelUnavailable(f"{repo_id} was disabled on the Hugging Face hub. {DEMO_HINT}") from None
    except RepositoryNotFoundError:
        raise ModelUnavailable(
            f"There is no model {repo_id} on the Hugging Face hub, or it is private. Check the spelling at "
            f"{page}; for a private model, put a token that may read it into hf_token. {has_token}. {DEMO_HINT}"
        ) from None
    except EntryNotFoundError as error:
        raise ModelUnavailable(f"{repo_id} lacks a file that is needed: {_first_line(error)}. {DEMO_HINT}") from None
    except OfflineModeIsEnabled:
        raise ModelUnavailable(
            f"{repo_id} is not on this machine yet, and HF_HUB_OFFLINE forbids to download it. "
            f"Unset that variable. {DEMO_HINT}"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ModelUnavailable(
                f"The Hugging Face hub refused the token ({status}). Make a new read token at "
                f"https://huggingface.co/settings/tokens and put it into hf_token, or leave hf_token empty. {DEMO_HINT}"
            ) from None
        raise ModelUnavailable(
            f"The Hugging Face hub answered {status} for {repo_id}. Try again later. {DEMO_HINT}"
        ) from None
    except (httpx.TransportError, ConnectionError, TimeoutError) as error:
        raise ModelUnavailable(
            f"{repo_id} is not on this machine yet, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}). Check the network and try again. {DEMO_HINT}"
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelUnavailable(
                f"The disk is full; {repo_id} could not be downloaded. Free some space, or set HF_HOME to a folder "
                "on another disk."
            ) from None
        raise ModelUnavailable(f"{repo_id} could not be downloaded: {_first_line(error)}. {DEMO_HINT}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
