"""The command line: read the settings, wire the services, serve."""

import logging
import os
import sys
from pathlib import Path

import click
from tqdm.contrib.logging import logging_redirect_tqdm

from sd_api import __version__
from sd_api.app import create_app, create_event_streams
from sd_api.errors import ConfigurationError
from sd_api.models.files import find_source_faults
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.serving import listen, serve
from sd_api.settings import Settings, load_settings
from sd_api.wiring import build_services, prepare_libraries

CONFIG_FILE = Path(__file__).resolve().parent / "config.json"

# Seconds that a denoising step has to end in after Ctrl-C, before the process ends without it.
PATIENCE = 0.5

log = logging.getLogger("sd_api")


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG_FILE,
    show_default="config.json beside server.py",
    help="The configuration file.",
)
@click.option("--host", help="Listen on this address; 0.0.0.0 opens the server to the whole network.")
@click.option("--port", type=int, help="Listen on this port.")
@click.option("--device", help="Run on this device: auto, cuda, cuda:N, mps or cpu.")
@click.option("--data", help="Keep users, tasks and images in this folder.", show_default="the platform's own place")
@click.option("--demo", is_flag=True, help="Use the small built-in model, which needs no download.")
@click.option("--check", is_flag=True, help="Check the configuration and every model's files, then exit.")
@click.version_option(__version__, prog_name="sd-api-server")
def main(
    config: Path, host: str | None, port: int | None, device: str | None, data: str | None, demo: bool, check: bool
) -> None:
    """Serve Stable Diffusion to the Photoshop plugin, and to whoever speaks its API."""
    _configure_logging()
    given = {"host": host, "port": port, "device": device, "data": data}
    overrides: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if demo:
        # Its safety checker knows only the demo's own pictures, so other models are left out.
        overrides |= {"model": str(BUILTIN_MODEL), "custom_models": []}
    try:
        # The default file may be missing: then every setting has its default.
        exists = config.exists() or config != CONFIG_FILE
        settings = load_settings(config if exists else None, overrides, check_source=find_source_faults)
        if check:
            _report_check(settings)
            return
        _check_device(settings)
        listener = listen(settings.host, settings.port)
        services = build_services(settings)
    except ConfigurationError as error:
        for fault in error.faults:
            click.secho(fault, fg="red", err=True)
        sys.exit(1)

    log.info("sd-api-server %s", __version__)
    services.start()
    # Lines of the log go above the bar of a running job, not into it.
    with logging_redirect_tqdm():
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
    logging.shutdown()
    os._exit(0)


def _report_check(settings: Settings) -> None:
    prepare_libraries()
    # Imported here, because it imports torch: an ordinary start need not wait for that.
    from sd_api.models.check import find_remote_faults

    if faults := find_remote_faults(settings):
        raise ConfigurationError(faults)
    click.secho("The configuration and the models' files are in order.", fg="green")


def _check_device(settings: Settings) -> None:
    """Refuse a device that is not there before anything is started; what "auto" finds is always there."""
    if settings.device not in ("auto", "cpu"):
        # Imports torch, as above.
        from sd_api.models.device import choose_device

        choose_device(settings.device, settings.dtype)


def _configure_logging() -> None:
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    main()
