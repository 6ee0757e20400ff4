"""The Flask application, from its settings and services."""

from flask import Flask

from sd_api.jobs.kept import KeptOutcomes
from sd_api.settings import Settings
from sd_api.web import access, health, studio
from sd_api.web.client import refuse_while_stopping
from sd_api.web.errors import register_error_handlers
from sd_api.web.guards import install_guards
from sd_api.web.plugin import jobs, models
from sd_api.web.plugin import routes as plugin
from sd_api.web.plugin.answers import failure
from sd_api.wiring import Services


def create_app(settings: Settings, services: Services) -> Flask:
    """Make the application; nothing is started and nothing is loaded."""
    # No static folder: every path is an endpoint or a failure in a dialect's own shape.
    app = Flask("sd_api", static_folder=None)
    # A path with two slashes is an unknown one, not a redirection to another.
    app.url_map.merge_slashes = False
    # A base64 layer is far larger than the 500 kB that Flask allows a form.
    app.config.update(
        MAX_CONTENT_LENGTH=settings.limits.max_request_bytes,
        MAX_FORM_MEMORY_SIZE=settings.limits.max_request_bytes,
    )
    install_guards(app, settings)
    app.before_request(refuse_while_stopping)
    register_error_handlers(app, failure, settings.limits)
    kept = KeptOutcomes()
    app.register_blueprint(plugin.make_blueprint(settings, services.queue, kept))
    app.register_blueprint(jobs.make_blueprint(services.queue, kept))
    app.register_blueprint(models.make_blueprint(settings, services.queue))
    app.register_blueprint(health.make_blueprint(services.queue, services.failures))
    app.register_blueprint(access.make_blueprint(settings))
    app.register_blueprint(studio.make_blueprint())
    return app
