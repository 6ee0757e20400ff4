"""Documents: pictures that are sent once, and edited many times by their ids.

They are kept where the task server keeps its images, so a document is a blob and a blob is a document.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response, request

from sd_api.errors import InvalidField, InvalidFields, OutOfLimits, RequestError, UnknownBlob
from sd_api.generation.stored_files import StoredFile
from sd_api.imaging.base64_text import decode_base64
from sd_api.imaging.long_text import LongText, Text
from sd_api.settings import Limits
from sd_api.storage.protocols import Blob, BlobStore
from sd_api.tasks.parameters import BLOB_ID, stored_id
from sd_api.web.bearer import JobOwners
from sd_api.web.uploads import store_picture

# The field of a form that has the picture.
FIELD = "image"


class UnknownDocument(RequestError):
    """There is no such document, or it is another owner's, or it has expired."""

    status = 404


def make_blueprint(blobs: BlobStore, owners: JobOwners, limits: Limits) -> Blueprint:
    """The endpoints over the images of ``blobs``."""
    blueprint = Blueprint("documents", __name__)
    endpoints = DocumentEndpoints(blobs, owners, limits)
    blueprint.add_url_rule("/documents", view_func=endpoints.upload, methods=["POST"])
    blueprint.add_url_rule("/documents/<document_id>", view_func=endpoints.document)
    blueprint.add_url_rule("/documents/<document_id>", view_func=endpoints.remove, methods=["DELETE"])
    return blueprint


class Pictures:
    """Reads what the image fields of a form hold: base64 text, or the id of a document.

    Args:
        blobs: has the documents.
        owners: knows whose request it is.
    """

    def __init__(self, blobs: BlobStore, owners: JobOwners) -> None:
        self._blobs = blobs
        self._owners = owners

    def read(self, field: str, text: Text) -> bytes | StoredFile:
        """The file that a field holds, or names.

        Raises:
            InvalidField: it is no base64.
            OutOfLimits: the sender has no such document.
        """
        # As base64, an id would be 24 bytes, and no picture is so small.
        if isinstance(text, LongText) or len(text) > _LONGEST_ID or not re.match(BLOB_ID, text):
            return decode_base64(field, text)
        with _refused(field, text):
            blob = self._blobs.blob(self._owners.sender(), stored_id(text))

        def read() -> bytes:
            with _refused(field, text):
                return self._blobs.read(blob)

        return StoredFile(blob.size, read)


@contextmanager
def _refused(field: str, text: str) -> Iterator[None]:
    """Refuse the field that names a document which is not there."""
    try:
        yield
    except UnknownBlob:
        raise OutOfLimits(
            field, f"is {text}, and you have no such document; it may have expired, so send the image again"
        ) from None


# Characters of an id in the groups of a UUID.
_LONGEST_ID = 36


class DocumentEndpoints:
    """One method for each endpoint."""

    def __init__(self, blobs: BlobStore, owners: JobOwners, limits: Limits) -> None:
        self._blobs = blobs
        self._owners = owners
        self._limits = limits

    def upload(self) -> dict[str, Any]:
        """Keep a picture; the answer has its id."""
        try:
            blob, image = store_picture(self._blobs, self._limits, self._owners.sender(), _content(), FIELD)
        except InvalidField as error:
            # The field is this endpoint's own, and no operation's whose name the dialect changes.
            raise InvalidFields([error]) from None
        size = {"width": image.width, "height": image.height}
        return {"status": "success", "document": {**_entry(blob), **size}}

    def document(self, document_id: str) -> dict[str, Any]:
        """What is known of a document without decoding it."""
        return {"status": "success", "document": _entry(self._blob(document_id))}

    def remove(self, document_id: str) -> Response:
        """Forget a document."""
        self._blobs.remove(self._blob(document_id))
        return Response(status=204)

    def _blob(self, document_id: str) -> Blob:
        try:
            return self._blobs.blob(self._owners.sender(), stored_id(document_id))
        except UnknownBlob:
            raise UnknownDocument(f"You have no document {document_id[:100]!r}; it may have expired.") from None


def _entry(blob: Blob) -> dict[str, Any]:
    return {
        "id": blob.id,
        "media_type": blob.media_type,
        "bytes": blob.size,
        "created": blob.created,
        "expires": blob.expires,
    }


def _content() -> bytes:
    """The picture in the body: the file itself, or the field of a form that holds it as a file or as base64 text."""
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return request.get_data(cache=False)
    if (file := request.files.get(FIELD)) is not None:
        content: bytes = file.read()
        return content
    if FIELD in request.form:
        return decode_base64(FIELD, request.form[FIELD])
    raise RequestError(
        f"Send the picture itself, with a content type such as image/png, or a form with it in the field {FIELD}."
    )
