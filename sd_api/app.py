"""Makes the Flask application, and the ASGI application for events, from settings and services."""

from flask import Flask, Response

from sd_api.settings import Settings
from sd_api.web import access, health, metrics, openapi, studio
from sd_api.web.a1111 import blueprints as a1111
from sd_api.web.a1111.answers import failure as a1111_failure
from sd_api.web.admission import Application, small_body, take_pictures
from sd_api.web.bearer import JobOwners, token_check
from sd_api.web.compression import install_compression
from sd_api.web.errors import register_error_handlers
from sd_api.web.guards import Callers, Guard, install_guards
from sd_api.web.openai import answers as openai_answers
from sd_api.web.openai import routes as openai
from sd_api.web.openai.pictures import Links
from sd_api.web.plugin import documents, downloads, estimates, jobs, models, prompts, workers
from sd_api.web.plugin import routes as plugin
from sd_api.web.plugin.answers import failure
from sd_api.web.tasks import accounts, answers, blobs
from sd_api.web.tasks import routes as tasks
from sd_api.web.tasks.events import STREAM_PATH, WEBSOCKET_PATH, EventStreams
from sd_api.wiring import Services


def create_app(settings: Settings, services: Services) -> Flask:
    """Make the application, without starting or loading anything."""
    # Without a static folder, every path is an endpoint or a failure in a dialect's own shape.
    app = Application("sd_api", static_folder=None)
    # A path with two slashes is unknown, rather than redirected to another one.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = small_body(settings.limits)
    install_guards(app, settings, Guard(Callers(settings), services.refused))
    others = dict.fromkeys(answers.PATHS, answers.failure) | {"v1": openai_answers.failure}
    others |= dict.fromkeys(a1111.PATHS, a1111_failure)
    register_error_handlers(app, failure, others, beside=(WEBSOCKET_PATH, STREAM_PATH))
    app.after_request(_remove_date)
    install_compression(app)
    owners = JobOwners(services.accounts, shared=settings.share_jobs)
    pictures = documents.Pictures(services.blobs, owners)
    generations = plugin.make_blueprint(settings, services.queue, services.results, owners, pictures)
    links = Links(services.stores.secret)
    compatible = openai.make_blueprint(settings, services.queue, services.results, links, owners)
    images = blobs.make_blueprint(services.accounts, services.blobs, services.previews, settings.limits)
    beforehand = estimates.make_blueprint(settings, services.queue, pictures)
    uploads = documents.make_blueprint(services.blobs, owners, settings.limits)
    for blueprint in (generations, compatible, images, beforehand, uploads):
        take_pictures(blueprint, settings.limits)
    plugins = [
        generations,
        compatible,
        beforehand,
        uploads,
        prompts.make_blueprint(settings, pictures),
        jobs.make_blueprint(services.queue, services.results, owners),
        models.make_blueprint(settings, services.queue),
        downloads.make_blueprint(settings, services.downloads, owners),
        health.make_blueprint(services.queue, services.failures, services.refused, owners),
        metrics.make_blueprint(services.metrics),
        workers.make_blueprint(services.queue, owners),
        access.make_blueprint(settings),
    ]
    for blueprint in plugins:
        if settings.require_token:
            blueprint.before_request(token_check(services.accounts))
        app.register_blueprint(blueprint)
    for blueprint in a1111.make_blueprints(settings, services.queue, services.accounts):
        app.register_blueprint(blueprint)
    app.register_blueprint(openai.make_links_blueprint(services.results, links))
    app.register_blueprint(accounts.make_blueprint(services.accounts))
    for blueprint in (tasks.make_blueprint(services.accounts, services.tasks), images):
        # Their views ask who it is, too; this is before a body is read.
        blueprint.before_request(token_check(services.accounts))
        app.register_blueprint(blueprint)
    app.register_blueprint(studio.make_blueprint())
    app.register_blueprint(openapi.make_blueprint())
    return app


def create_event_streams(settings: Settings, services: Services) -> EventStreams:
    """Make the ASGI application that serves events."""
    guard = Guard(Callers(settings), services.refused)
    return EventStreams(services.accounts, services.events, guard, original=settings.original_events)


def _remove_date(response: Response) -> Response:
    """Remove Flask's Date header, because the web server adds its own to every answer."""
    response.headers.pop("Date", None)
    return response
