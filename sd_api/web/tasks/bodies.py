"""Reads and validates the bodies and queries of this dialect."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from werkzeug.exceptions import BadRequest

from sd_api.errors import RequestError
from sd_api.generation.projection import is_refusal
from sd_api.tasks.parameters import BLOB_ID

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


USERNAME = r"^[A-Za-z0-9_.@+-]{1,64}$"

# Messages for patterns, which pydantic's own messages would show raw.
_PATTERNS = {
    USERNAME: "A user name has 1 to 64 characters, which are letters from A to Z, digits or any of _.@+-",
    BLOB_ID: "This is no blob's id, which has 32 of the letters 0123456789abcdef",
}

Username = Annotated[str, StringConstraints(pattern=USERNAME), AfterValidator(_not_reserved)]


class Password(BaseModel):
    """A password; the path has the user name."""

    model_config = ConfigDict(strict=True)

    password: str = Field(
        min_length=1, max_length=1024, examples=["correct horse battery staple"], description="1 to 1024 characters"
    )


class Credentials(Password):
    """A name and a password; other fields, such as OAuth2's ``grant_type``, are ignored."""

    username: Username = Field(description="1 to 64 letters from A to Z, digits and any of _.@+-", examples=["ann"])


class Page(BaseModel):
    """The requested part of a list."""

    limit: int = Field(default=20, ge=1, le=100, description="the most entries to return", examples=[20])
    offset: int = Field(default=0, ge=0, le=2**31 - 1, description="the number of entries to skip", examples=[0])


def read_credentials(username: str | None = None) -> Credentials:
    """The name and the password in the form, the JSON body or the query.

    Args:
        username: the name in the path; None if it is among the fields.
    """
    fields = {**request.args.to_dict(), **(read_object() if request.is_json else request.form.to_dict())}
    if username is not None:
        fields["username"] = username
    return validated(Credentials.model_validate, fields)


def read_object() -> dict[str, Any]:
    """The JSON object in the body."""
    if not request.is_json:
        raise _fault((), f"Send JSON, with the content type application/json; {request.mimetype or 'none'} came.")
    try:
        content = request.get_json()
    except BadRequest:
        raise _fault((), "This is no valid JSON.", "json_invalid") from None
    except RecursionError:
        raise _fault((), "Its brackets are nested too deeply.", "json_invalid") from None
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
    return {"msg": _PATTERNS.get(fault.get("ctx", {}).get("pattern", ""), fault["msg"]), "type": fault["type"]}


def _fault(location: Sequence[str], message: str, kind: str = "value_error") -> Unprocessable:
    return Unprocessable([{"loc": ["body", *location], "msg": message, "type": kind}])
