"""Functions that all blob stores share."""

import time
from hashlib import sha256
from uuid import uuid4

from sd_api.errors import UnknownBlob
from sd_api.settings import Limits
from sd_api.storage.protocols import Blob

SECONDS_OF_A_DAY = 24 * 60 * 60


def new_blob(owner: str, content: bytes, media_type: str, limits: Limits) -> Blob:
    """Describe a new image, with the time to live of the configuration."""
    now = time.time()
    return Blob(
        id=uuid4().hex,
        owner=owner,
        sha256=sha256(content).hexdigest(),
        size=len(content),
        media_type=media_type,
        created=now,
        expires=now + limits.max_days_kept * SECONDS_OF_A_DAY,
    )


def unknown_blob(blob_id: str) -> UnknownBlob:
    """The error for an image that does not exist or is another owner's; the message does not say which."""
    return UnknownBlob(f"There is no blob {blob_id[:100]!r} of yours.")
