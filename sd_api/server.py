"""The command line of the server: read the settings, wire the services, serve."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import click

from sd_api import __version__
from sd_api.allocator import share_one_arena
from sd_api.commands import models, pull
from sd_api.errors import ConfigurationError
from sd_api.logs import wrapped
from sd_api.settings import Settings
from sd_api.starting import (
    PATIENCE,
    check_device,
    config_option,
    configure_logging,
    default_of,
    demo_option,
    device_option,
    exit_at_faults,
    read_settings,
)

log = logging.getLogger("sd_api")


@click.group(
    invoke_without_command=True,
    context_settings={"show_default": True, "max_content_width": 100},
    epilog="An option that is not given is taken from the configuration file, if it is there; defaults are those of "
    "an empty file.",
)
@config_option
@click.option(
    "--host",
    help="Listen on this address; 0.0.0.0 opens the server to the whole network.",
    show_default=default_of("host"),
)
@click.option("--port", type=int, help="Listen on this port.", show_default=default_of("port"))
@device_option
@click.option("--data", help="Keep users, tasks and images in this folder.", show_default="the platform's own place")
@demo_option
@click.option("--check", is_flag=True, help="Check the configuration and every model's files, then exit.")
@click.version_option(__version__, prog_name="sd-api-server")
@click.pass_context
def main(
    context: click.Context,
    config: Path,
    host: str | None,
    port: int | None,
    device: str | None,
    data: str | None,
    demo: bool,
    check: bool,
) -> None:
    """Serve Stable Diffusion to the Photoshop plugin, and to every client of its API; without a command, that is."""
    share_one_arena()
    write_last_lines = configure_logging()
    if context.invoked_subcommand is not None:
        return
    given = {"host": host, "port": port, "device": device, "data": data}
    with exit_at_faults():
        settings = read_settings(config, given, demo=demo)
        if check:
            _check(settings)
        else:
            _run(settings, write_last_lines)


def _run(settings: Settings, write_last_lines: Callable[[], None]) -> None:
    """Serve until Ctrl-C or a request to terminate; then the process ends.

    Raises:
        ConfigurationError: the server cannot be started with these settings.
    """
    log.info("sd-api-server %s is starting", __version__)
    # Imported here, because it takes a second, and many where other programs keep the machine busy: by then there
    # is a line to read.
    from sd_api.app import create_app, create_event_streams
    from sd_api.serving.listener import listen
    from sd_api.serving.server import serve
    from sd_api.wiring import build_services

    if settings.cluster is None:
        check_device(settings)
    listener = listen(settings.host, settings.port)
    services = build_services(settings)
    services.start()
    serve(
        create_app(settings, services),
        create_event_streams(settings, services),
        settings,
        listener,
        before_stop=lambda: services.queue.stop(timeout=0),
    )
    services.stop(timeout=PATIENCE)
    log.info("Stopped.")
    # A thread inside torch, in a download or with an answer that its client does not read cannot be
    # interrupted, and Python would wait for it.
    write_last_lines()
    os._exit(0)


def _check(settings: Settings) -> None:
    """Check what only the models' files, the hub and Redis know.

    Raises:
        ConfigurationError: with every fault.
    """
    from sd_api.models.libraries import import_libraries

    import_libraries()
    from sd_api.models.check import look_further
    from sd_api.wiring import require_cluster

    found = look_further(settings)
    for plan in found.plans:
        click.echo(wrapped(plan, indent=2))
    faults = found.faults
    if settings.cluster is not None:
        try:
            require_cluster(settings.cluster)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    click.secho("The configuration and the models' files are in order.", fg="green")


main.add_command(pull)
main.add_command(models)

if __name__ == "__main__":
    main()
