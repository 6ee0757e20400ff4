"""The endpoints for images: upload, download, delete."""

import time

from flask import Blueprint, Response, jsonify, request

from sd_api.accounts.accounts import Accounts
from sd_api.errors import RequestError
from sd_api.imaging.decoding import FORMATS, media_type_of, read_image
from sd_api.imaging.encoding import encode_png
from sd_api.settings import Limits
from sd_api.storage.protocols import Blob, BlobStore
from sd_api.tasks.parameters import stored_id
from sd_api.tasks.previews import Previews
from sd_api.web.bearer import identify_caller
from sd_api.web.conversions import Conversions
from sd_api.web.description import PNG
from sd_api.web.png_answers import png_answer
from sd_api.web.tasks.bodies import Unprocessable
from sd_api.web.uploads import store_picture


class UnsupportedMedia(RequestError):
    """The body is no image, by its content type or by its content."""

    status = 415


def make_blueprint(accounts: Accounts, blobs: BlobStore, previews: Previews, limits: Limits) -> Blueprint:
    """The endpoints over ``blobs``, and over ``previews``, which are downloaded in the same way."""
    blueprint = Blueprint("blobs", __name__)
    endpoints = BlobEndpoints(accounts, blobs, previews, limits)
    blueprint.add_url_rule("/blob", view_func=endpoints.upload, methods=["POST"])
    blueprint.add_url_rule("/blob/<blob_id>", view_func=endpoints.download)
    blueprint.add_url_rule("/blob/<blob_id>", view_func=endpoints.remove, methods=["DELETE"])
    return blueprint


class BlobEndpoints:
    """One method for each endpoint."""

    def __init__(self, accounts: Accounts, blobs: BlobStore, previews: Previews, limits: Limits) -> None:
        self._accounts = accounts
        self._blobs = blobs
        self._previews = previews
        self._limits = limits
        self._conversions = Conversions()

    def upload(self) -> Response:
        """Store an image and return its id."""
        owner = self._owner()
        content = _content()
        if media_type_of(content) is None:
            raise UnsupportedMedia(f"This is not a picture that this server can read; send {FORMATS}.")
        blob, _ = store_picture(self._blobs, self._limits, owner, content, "blob_data")
        return jsonify(blob.id)

    def download(self, blob_id: str) -> Response:
        """An image as PNG, whole or the part that a ``Range`` header asks for."""
        owner, blob_id = self._owner(), stored_id(blob_id)
        preview = self._previews.read(owner, blob_id)
        if preview is not None:
            response = png_answer("preview", preview)
            response.cache_control.no_store = True
            return response
        blob = self._blobs.blob(owner, blob_id)
        response = png_answer(blob.id, self._png(blob))
        response.set_etag(blob.sha256)
        response.cache_control.private = True
        # The image of an id never changes.
        response.cache_control.max_age = max(0, int(blob.expires - time.time()))
        response.cache_control.immutable = True
        response.make_conditional(request, accept_ranges=True, complete_length=response.content_length)
        return response

    def remove(self, blob_id: str) -> tuple[str, int]:
        """Delete an image."""
        self._blobs.remove(self._blobs.blob(self._owner(), stored_id(blob_id)))
        return "", 204

    def _png(self, blob: Blob) -> bytes:
        content = self._blobs.read(blob)
        if blob.media_type == PNG:
            return content
        most = self._limits.max_image_pixels
        return self._conversions.get(blob.id, lambda: encode_png(read_image("blob", content, max_pixels=most)))

    def _owner(self) -> str:
        return identify_caller(self._accounts).owner


def _content() -> bytes:
    if request.mimetype == "multipart/form-data":
        if (file := request.files.get("blob_data")) is None:
            message = "Send the image as a file in the field blob_data."
            raise Unprocessable([{"loc": ["body", "blob_data"], "msg": message, "type": "missing"}])
        content: bytes = file.read()
        return content
    if request.mimetype.startswith("image/"):
        return request.get_data()
    raise UnsupportedMedia(
        f"The content type is {request.mimetype or 'missing'}; send a form (multipart/form-data) with the image in "
        "blob_data, or the image itself with its own type, such as image/png."
    )
