"""Reads and validates the bodies and queries of this dialect."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sd_api.errors import RequestError
from sd_api.generation.refusals import is_refusal
from sd_api.tasks.parameters import BLOB_ID, unknown_parameter

Body = TypeVar("Body")


class Unprocessable(RequestError):
    """Fields are missing or malformed.

    Args:
        details: one mapping for each fault, with ``loc``, ``msg`` and ``type``.
    """

    status = 422

    def __init__(self, details: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("; ".join(f"{detail['loc']}: {detail['msg']}" for detail in details))
        self.details = details


def _not_reserved(name: str) -> str:
    # /token/all gives public tokens.
    if name == "all":
        raise PydanticCustomError("value_error", "all is no name for a user; choose another")
    return name


MAX_USERNAME = 64

# U+FFFD stands for bytes that were no text.
_NOT_IN_NAMES = "/\ufffd"


def _readable(name: str) -> str:
    # Two ways to write the same letters are one name, and so are two kinds of blanks.
    name = unicodedata.normalize("NFC", name)
    name = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in name).strip(" ")
    if not 0 < len(name) <= MAX_USERNAME or not name.isprintable() or any(sign in name for sign in _NOT_IN_NAMES):
        problem = f"A user name has 1 to {MAX_USERNAME} characters: letters, digits, blanks and signs other than /"
        raise PydanticCustomError("value_error", problem)
    return name


Username = Annotated[str, AfterValidator(_readable), AfterValidator(_not_reserved)]


class Password(BaseModel):
    """A password; the path has the user name."""

    model_config = ConfigDict(strict=True)

    password: str = Field(
        min_length=1, max_length=1024, examples=["correct horse battery staple"], description="1 to 1024 characters"
    )


class Credentials(Password):
    """A name and a password; other fields, such as OAuth2's ``grant_type``, are ignored."""

    username: Username = Field(
        description="1 to 64 letters, digits, blanks and signs other than /; blanks at its ends do not count",
        examples=["ann"],
    )


class Page(BaseModel):
    """The requested part of a list."""

    limit: int = Field(default=20, ge=1, le=100, description="the most entries to return", examples=[20])
    offset: int = Field(default=0, ge=0, le=2**31 - 1, description="the number of entries to skip", examples=[0])


def read_credentials(username: str | None = None) -> Credentials:
    """The name and the password in the form, the JSON body or the query.

    Args:
        username: the name in the path; None if it is among the fields.
    """
    is_json = request.is_json or (not request.mimetype and request.content_length)
    fields = {**request.args.to_dict(), **(read_object() if is_json else request.form.to_dict())}
    if username is not None:
        fields["username"] = username
    return validated(Credentials.model_validate, fields)


def read_object() -> dict[str, Any]:
    """The JSON object in the body; without a content type, the body is taken for JSON."""
    if request.mimetype and not request.is_json:
        raise _fault((), f"Send JSON, with the content type application/json; {request.mimetype} came.")
    try:
        content = request.get_json(force=True)
    except RequestError as error:
        # What names a field, or costs more than any request (413), has its answer.
        if error.errors or error.status != RequestError.status:
            raise
        raise _fault((), error.message, "json_invalid") from None
    if not isinstance(content, dict):
        raise _fault((), "Send a JSON object: { … }.", "dict_type")
    return content


def read_page() -> Page:
    """The part of a list that the query asks for."""
    return validated(Page.model_validate, request.args.to_dict(), "query")


def validated(validate: Callable[[Mapping[str, Any]], Body], fields: Mapping[str, Any], where: str = "body") -> Body:
    """Validate fields with a model.

    Args:
        validate: the model's ``model_validate``, or a function that chooses a model.
        fields: the raw fields.
        where: the part of the request with the fields, for ``loc``.

    Raises:
        Unprocessable: fields are missing or malformed; names all of them.
    """
    try:
        return validate(fields)
    except ValidationError as error:
        raise Unprocessable(
            [
                {"loc": [where, *fault["loc"]], **_message(fault)}
                for fault in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _message(fault: ErrorDetails) -> dict[str, str]:
    if is_refusal(fault):
        # The message is only the predicate of a sentence.
        return {"msg": f"{fault['loc'][-1]} {fault['msg']}", "type": "value_error"}
    message = fault["msg"]
    if fault["type"] == "extra_forbidden":
        message = unknown_parameter(str(fault["loc"][-1]))
    elif fault.get("ctx", {}).get("pattern") == BLOB_ID:
        message = "This is no blob's id, which has 32 of the letters 0123456789abcdef"
    return {"msg": message, "type": fault["type"]}


def _fault(location: Sequence[str], message: str, kind: str = "value_error") -> Unprocessable:
    return Unprocessable([{"loc": ["body", *location], "msg": message, "type": kind}])
