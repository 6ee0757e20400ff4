"""What all ways of keeping images have in common."""

import time
from hashlib import sha256
from uuid import uuid4

from sd_api.errors import QuotaExceeded, UnknownBlob
from sd_api.settings import Limits
from sd_api.storage.protocols import Blob

SECONDS_OF_A_DAY = 24 * 60 * 60


def describe(owner: str, content: bytes, media_type: str, limits: Limits) -> Blob:
    """A new image of an owner's, kept for as long as the configuration says."""
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


def full(kept: int, limits: Limits) -> QuotaExceeded:
    """The refusal of more where an owner has so many bytes."""
    return QuotaExceeded(
        f"Your images take {kept:,} bytes, and {limits.max_blob_bytes_per_user:,} may be kept for you. "
        "Delete some with DELETE /blob/<id>."
    )


def unknown(blob_id: str) -> UnknownBlob:
    """The answer to who asks for an image that is not theirs, or not there."""
    return UnknownBlob(f"There is no blob {blob_id[:100]!r} of yours.")
