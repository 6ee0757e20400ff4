"""The endpoints that download models of the hub to this server, for who may use them.

A download belongs to its sender, as a job does; see ``sd_api/web/bearer.py``.
"""

from dataclasses import asdict
from typing import Any

from flask import Blueprint

from sd_api.errors import UnknownModel
from sd_api.models.catalog import ModelCatalog
from sd_api.models.downloads import DownloadStatus, ModelDownloads
from sd_api.models.providers import HUB
from sd_api.models.sources import HubModel, hub_model
from sd_api.settings import Settings
from sd_api.web.bearer import JobOwners
from sd_api.web.client import is_on_this_computer


def make_blueprint(settings: Settings, downloads: ModelDownloads, owners: JobOwners) -> Blueprint:
    """The endpoints over ``downloads``."""
    blueprint = Blueprint("downloads", __name__)
    catalog = ModelCatalog(settings)

    def every() -> dict[str, Any]:
        return {"status": "success", "downloads": [_entry(one) for one in downloads.of(owners.owner())]}

    def start(model_id: str) -> tuple[dict[str, Any], int]:
        # The same rule as for a request that names the model, which may mean the main one.
        model = catalog.find(HUB, model_id, from_here=is_on_this_computer())
        if not isinstance(model.source, HubModel):
            raise UnknownModel(
                f"{model_id[:100]!r} means the main model here, {model.label}, which is not from the hub. To download "
                "it, name it in allowed_models in the configuration."
            )
        begun = downloads.start(model.source, owners.owner())
        return {"status": "success", "download": _entry(begun)}, 202

    def remove(model_id: str) -> dict[str, Any]:
        downloads.remove(hub_model(model_id).repo_id, owners.owner())
        return {"status": "success"}

    blueprint.add_url_rule("/downloads", "every", every)
    blueprint.add_url_rule("/downloads/<path:model_id>", "start", start, methods=["POST"])
    blueprint.add_url_rule("/downloads/<path:model_id>", "remove", remove, methods=["DELETE"])
    return blueprint


def _entry(status: DownloadStatus) -> dict[str, Any]:
    return {**asdict(status), "url_path": f"{HUB}:{status.model_id}"}
