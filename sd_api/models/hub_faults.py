"""Translates the errors of the Hugging Face hub into messages for the administrator of the server."""

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever of its two it uses

from sd_api.errors import JobCancelled, ModelUnavailable
from sd_api.models.reasons import first_line

log = logging.getLogger(__name__)

_TOKENS_PAGE = "https://huggingface.co/settings/tokens"
_NO_FOLDER = "If a folder or a file on this machine is meant, there is none of this name; give its whole path."
_DEMO = "Or start with the built-in model: --demo"


@contextmanager
def explained(repo_id: str, token: str | None) -> Iterator[None]:
    """Translate the errors of the hub, the network and the disk.

    Args:
        repo_id: the repository, for the messages.
        token: the token that was sent, if any; never part of a message.

    Raises:
        ModelUnavailable: the message has the reason, and what to do.
        JobCancelled: the job that needs the model was cancelled.
    """
    try:
        yield
    except JobCancelled:
        raise
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{error.message} {_DEMO}") from None
    except Exception as error:
        if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
            # The file is not in the cache after the download failed; the cause is the error of the download.
            error = error.__cause__
        raise ModelUnavailable(f"{_reason(repo_id, _describe_token(token), error)} {_DEMO}") from None


def without_hints(message: str) -> str:
    """A message without what ends it for who starts a server: a client gives no paths."""
    return message.removesuffix(_DEMO).rstrip().removesuffix(_NO_FOLDER).rstrip()


def _describe_token(token: str | None) -> str | None:
    """Describe where the token that was sent comes from; None if none was sent."""
    if token is not None:
        return "the token in hf_token"
    return "the login stored on this machine (hf auth login)" if get_token() else None


def _reason(repo_id: str, token: str | None, error: Exception) -> str:
    page = f"https://huggingface.co/{repo_id}"
    match error:
        case GatedRepoError() if token is None:
            return (
                f"{repo_id} is gated, and this server has no token. Log in at {page} and accept its terms, "
                f"then make a read token at {_TOKENS_PAGE} and put it into hf_token."
            )
        case GatedRepoError():
            return (
                f"{repo_id} is gated, and the account of {token} may not read it. Log in to that account, open "
                f"{page} and accept its terms. A fine-grained token also has to allow reading gated repositories."
            )
        case DisabledRepoError():
            return f"{repo_id} was disabled on the Hugging Face hub."
        case RepositoryNotFoundError():
            return (
                f"There is no model {repo_id} on the Hugging Face hub, or it is private. Check the spelling at {page}. "
                f"A private model needs a token that may read it; {token or 'none'} was sent."
            )
        case OfflineModeIsEnabled():
            return (
                f"{repo_id} is not on this machine yet, and the environment variable HF_HUB_OFFLINE forbids to "
                f"download it. Unset it. {_NO_FOLDER}"
            )
        case HfHubHTTPError(response=response) if response.status_code in (401, 403) and token is not None:
            return (
                f"The Hugging Face hub refuses {token} ({_describe_status(error)}). Make a new read token at "
                f"{_TOKENS_PAGE} and put it into hf_token. Models that are not gated need none."
            )
        case HfHubHTTPError():
            return (
                f"The Hugging Face hub has trouble with {repo_id} ({_describe_status(error)}). "
                "Try again in some minutes."
            )
        case json.JSONDecodeError():
            return (
                f"What answers at {constants.ENDPOINT} is not the Hugging Face hub, perhaps the login page of this "
                "network. Open that address in a browser."
            )
        case httpx.TransportError() | ConnectionError() | TimeoutError():
            return (
                f"{repo_id} is not on this machine yet, and the Hugging Face hub at {constants.ENDPOINT} cannot be "
                f"reached ({first_line(error)}). Check the network and try again. {_NO_FOLDER}"
            )
        case OSError(errno=errno.ENOSPC):
            return (
                f"The disk is full, so {repo_id} could not be downloaded to {constants.HF_HUB_CACHE}. Free some "
                "space and try again, or set the environment variable HF_HOME to a folder on another disk."
            )
    log.error("Downloading %s failed", repo_id, exc_info=error)
    return f"{repo_id} could not be downloaded to {constants.HF_HUB_CACHE} ({first_line(error)})."


def _describe_status(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    return f"{status}: {error.server_message.splitlines()[0]}" if error.server_message else str(status)
