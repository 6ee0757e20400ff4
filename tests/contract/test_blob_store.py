"""What every BlobStore promises; each implementation is put through the same tests."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest

from sd_api.errors import Overloaded, QuotaExceeded, UnknownBlob
from sd_api.owners import address, public_token
from sd_api.storage.protocols import Blob, BlobStore

# As many bytes as any image has: every value, and the end of a line in both ways.
PICTURE = bytes(range(64)) + b"\r\n\xff"


def test_a_blob_is_its_owners_alone(blobs: BlobStore) -> None:
    blob = blobs.make("user:a", PICTURE, "image/png")
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", blob.id)
    blobs.add(blob)
    assert blobs.blob("user:a", blob.id) == blob
    assert blobs.read(blob) == PICTURE
    with pytest.raises(UnknownBlob):
        blobs.blob("user:b", blob.id)


def test_it_is_described(blobs: BlobStore) -> None:
    blob = blobs.make("user:a", b"picture", "image/jpeg")
    assert (blob.owner, blob.size, blob.media_type) == ("user:a", 7, "image/jpeg")
    assert blob.sha256 == sha256(b"picture").hexdigest()
    assert blob.expires - blob.created == 30 * 24 * 3600


def test_of_two_with_one_content_each_goes_by_itself(blobs: BlobStore) -> None:
    first, second = (blobs.make(owner, PICTURE, "image/png") for owner in ("user:a", "user:b"))
    blobs.add(first)
    blobs.add(second)
    assert first.id != second.id
    blobs.remove(first)
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", first.id)
    blobs.sweep()
    assert blobs.read(blobs.blob("user:b", second.id)) == PICTURE
    # Once more, as two requests at the same time do.
    blobs.remove(first)


def test_the_sweeper_spares_what_was_written_just_now(blobs: BlobStore) -> None:
    blob = blobs.make("user:a", PICTURE, "image/png")
    assert blobs.sweep() == 0
    blobs.add(blob)
    assert blobs.sweep() == 0
    assert blobs.read(blob) == PICTURE


def test_an_expired_blob_is_not_there_and_takes_no_room(blobs: BlobStore) -> None:
    blob = replace(blobs.make("user:a", bytes(60), "image/png"), expires=time.time() - 1)
    blobs.add(blob)
    with pytest.raises(UnknownBlob):
        blobs.blob("user:a", blob.id)
    blobs.check_quota("user:a", 90)
    blobs.sweep()
    blobs.add(blobs.make("user:a", bytes(90), "image/png"))


def test_a_quota_holds_against_uploads_at_the_same_time(blobs: BlobStore) -> None:
    made: list[Blob] = [blobs.make("user:a", bytes([number]) * 40, "image/png") for number in range(6)]

    def add(blob: Blob) -> bool:
        try:
            blobs.add(blob)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        added = list(threads.map(add, made))
    assert added.count(True) == 2
    blobs.add(replace(made[0], id="of another", owner="user:b"))
    with pytest.raises(QuotaExceeded, match=r"take 80 bytes, and 100 may be kept"):
        blobs.check_quota("user:a", 40)
    blobs.check_quota("user:a")
    blobs.remove(made[added.index(True)])
    blobs.check_quota("user:a", 40)


def test_images_of_public_tokens_count_for_their_address_and_all_of_them_together(blobs: BlobStore) -> None:
    first, second, third = (public_token(each, "a") for each in ("10.0.0.1", "10.0.0.1", "10.0.0.2"))
    kept = blobs.make(first, bytes(90), "image/png")
    blobs.add(kept)
    with pytest.raises(QuotaExceeded, match="take 90 bytes"):
        blobs.add(blobs.make(second, bytes(10), "image/png"))
    with pytest.raises(Overloaded, match="all public tokens take 90 bytes") as refusal:
        blobs.check_quota(third, 30)
    assert refusal.value.retry_after is not None
    # Clients without a token, who keep documents, count among them.
    with pytest.raises(Overloaded, match="all public tokens take 90 bytes"):
        blobs.add(blobs.make(address("10.0.0.3"), bytes(30), "image/png"))
    blobs.add(blobs.make("user:a", bytes(90), "image/png"))
    with pytest.raises(Overloaded, match="All images take 180 bytes"):
        blobs.add(blobs.make("user:b", bytes(20), "image/png"))
    blobs.remove(kept)
    blobs.check_quota(third, 30)
    blobs.check_quota("user:b", 90)
