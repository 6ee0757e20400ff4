"""All blueprints of this dialect."""

from flask import Blueprint, Response

from sd_api.accounts.accounts import Accounts
from sd_api.errors import NotAuthenticated
from sd_api.jobs.queue import JobQueue
from sd_api.models.folders import ModelFolders
from sd_api.settings import Settings
from sd_api.web.a1111 import controlnet, extras, lists, outside, routes
from sd_api.web.a1111.options import Checkpoints
from sd_api.web.admission import take_pictures
from sd_api.web.bearer import JobOwners, token_check

PATHS = ("sdapi", "queue", "controlnet")
"""The first part of each of this dialect's paths."""


def make_blueprints(settings: Settings, queue: JobQueue, accounts: Accounts) -> tuple[Blueprint, ...]:
    """Every endpoint of this dialect over ``queue``; ``accounts`` identifies the callers, also by HTTP Basic."""
    owners = JobOwners(accounts, shared=settings.share_jobs, basic=True)
    checkpoints = Checkpoints(settings)
    pictures, control = routes.make_blueprints(settings, queue, owners, checkpoints)
    resizing = extras.make_blueprint(settings.limits)
    folders = ModelFolders.of(settings)
    following = controlnet.make_blueprint(folders, settings.limits)
    for blueprint in (pictures, resizing, following):
        take_pictures(blueprint, settings.limits)
    every = (
        pictures,
        control,
        resizing,
        following,
        lists.make_blueprint(queue, checkpoints, settings),
        outside.make_blueprint(queue, folders),
    )
    if settings.require_token:
        for blueprint in every:
            blueprint.before_request(token_check(accounts, basic=True))
            blueprint.after_request(_offer_basic)
    return every


def _offer_basic(response: Response) -> Response:
    """Programs that send their password only when they are asked for it wait for this."""
    if response.status_code == NotAuthenticated.status:
        response.headers["WWW-Authenticate"] = 'Basic realm="token", Bearer'
    return response
