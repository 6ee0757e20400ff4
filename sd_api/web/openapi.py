"""The OpenAPI document of all dialects; the studio has a page to read it and to try it out."""

import json
from functools import cache
from typing import Any

import yaml
from flask import Blueprint
from openapi_pydantic import Components, Info, OpenAPI, PathItem, SecurityScheme, Tag
from openapi_pydantic.util import construct_open_api_with_schema_class

from sd_api import __version__
from sd_api.web.a1111 import description as a1111
from sd_api.web.fixed import fixed
from sd_api.web.openai import description as openai
from sd_api.web.plugin import description as plugin
from sd_api.web.tasks import description as tasks

_ABOUT = """\
One server, four dialects over the same queue and engine.

The endpoints of the *plugin* take forms and answer with pictures. Those of *A1111's API* and *OpenAI's images API* do
what theirs do. Those of the *task server* need a token, take JSON, and answer with ids. Limits are those of the
server's configuration.
"""

_EVENTS = """\
Events come while they happen over the websocket `/events?token=<token>`, each message one JSON object, and over
`GET /events/stream?token=<token>` as server-sent events. Both take `&progress=1` for `progress` events, `&preview=1`
for those with previews, and `&since=<event_id>` for what was missed. A websocket without a valid token is closed with
1008. They are no plain requests, so they are described here rather than among the paths.
"""


@cache
def describe() -> dict[str, Any]:
    """The OpenAPI document, as plain JSON."""
    document = OpenAPI(
        openapi="3.1.0",
        info=Info(title="Stable Diffusion API server", version=__version__, description=_ABOUT),
        tags=[
            Tag(name="plugin", description="the Photoshop plugin's endpoints"),
            Tag(name="jobs", description="the plugin's generations, while they run"),
            Tag(name="a1111", description="AUTOMATIC1111's API, for editors, chat programs and scripts"),
            Tag(name="openai", description="OpenAI's images API, for programs that speak to any compatible server"),
            Tag(name="accounts", description="users and tokens; JSON will do as well as a form"),
            Tag(name="tasks", description=_EVENTS),
            Tag(name="blobs", description="images"),
        ],
        paths=_merged(plugin.describe(), a1111.describe(), openai.describe(), tasks.describe()),
        components=Components(
            securitySchemes={
                "basic": SecurityScheme(type="http", scheme="basic", description="the token as the password"),
                "bearer": SecurityScheme(type="http", scheme="bearer", bearerFormat="JWT"),
                "password": SecurityScheme.model_validate(
                    {"type": "oauth2", "flows": {"password": {"tokenUrl": "/token", "scopes": {}}}}
                ),
            }
        ),
    )
    complete = construct_open_api_with_schema_class(document, schema_classes=list(tasks.SCHEMAS))
    content: dict[str, Any] = json.loads(complete.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True))
    return content


def _merged(*dialects: dict[str, PathItem]) -> dict[str, PathItem]:
    """The paths of all dialects; two may have different methods of one path."""
    paths: dict[str, PathItem] = {}
    for path, item in (pair for dialect in dialects for pair in dialect.items()):
        methods = {method: getattr(item, method) for method in item.model_fields_set}
        paths[path] = paths[path].model_copy(update=methods) if path in paths else item
    return paths


@cache
def as_yaml() -> str:
    """The OpenAPI document as YAML, the form that is committed."""
    text: str = yaml.dump(describe(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as literal blocks."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


@cache
def _as_json() -> bytes:
    return json.dumps(describe(), ensure_ascii=False).encode()


def make_blueprint() -> Blueprint:
    """The document at ``/openapi.json`` and ``/openapi.yml``."""
    blueprint = Blueprint("openapi", __name__)
    blueprint.add_url_rule("/openapi.json", "json", lambda: fixed("openapi.json", _as_json()))
    blueprint.add_url_rule("/openapi.yml", "yml", lambda: fixed("openapi.yml", as_yaml().encode()))
    return blueprint
