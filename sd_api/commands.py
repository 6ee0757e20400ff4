"""Commands beside serving: download a model, list those that are there, and remove one."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sd_api.errors import ConfigurationError, JobCancelled, ServerError
from sd_api.models.memory_values import gigabytes
from sd_api.models.sources import hub_model
from sd_api.settings import Settings
from sd_api.starting import exit_at_faults, read_settings

if TYPE_CHECKING:
    from sd_api.models.on_disk import StoredModel

log = logging.getLogger("sd_api")

# Seconds between two lines where there is no terminal to draw a bar in.
INTERVAL = 5.0
# The columns of a terminal that is as narrow as any.
WIDTH = 80


@click.command(short_help="Download a model without serving it.")
@click.argument("model_id", metavar="ID")
@click.pass_context
def pull(context: click.Context, model_id: str) -> None:
    """Download a model from the Hugging Face hub without serving it.

    A download that was broken off goes on where it stopped, within a file, too.
    """
    with _explained():
        settings = _settings(context)
        source = hub_model(model_id)
        # Imported here, as in the other commands, because it takes seconds that serving need not wait for.
        from sd_api.models import pulling

        with _interruptible():
            size = pulling.pull(source, settings, _report())
        click.echo(f"{source.repo_id} is complete: {gigabytes(size)}")


@click.group(invoke_without_command=True, short_help="List and remove downloaded models.")
@click.pass_context
def models(context: click.Context) -> None:
    """List the models that were downloaded or are configured, with their sizes and last use."""
    if context.invoked_subcommand is None:
        from sd_api.models.on_disk import configured_models, stored_models

        with _explained():
            found = [*stored_models(), *configured_models(_settings(context))]
        for model in found:
            click.echo("\n".join(_lines(model)))
        click.echo(f"{len(found)} models, {gigabytes(sum(model.bytes for model in found))}")


@models.command()
@click.argument("model_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(model_id: str, *, yes: bool) -> None:
    """Delete a model that was downloaded."""
    from sd_api.models.on_disk import remove_model, stored_models

    with _explained():
        model = next((model for model in stored_models() if model.repo_id == model_id), None)
        if model is not None and not yes:
            click.confirm(f"Delete {model_id}, {gigabytes(model.bytes)}?", abort=True)
        click.echo(f"{model_id} is deleted: {gigabytes(remove_model(model_id))} are free again")


def _settings(context: click.Context) -> Settings:
    """The settings of the command before this one, such as ``server.py --config FILE pull ID``."""
    assert context.parent is not None  # noqa: S101 - it is a command of the server's
    options = context.parent.params
    given = {name: options[name] for name in ("host", "port", "device", "data")}
    return read_settings(options["config"], given, demo=options["demo"])


@contextmanager
def _explained() -> Iterator[None]:
    """End the process with the reason where something cannot be done."""
    with exit_at_faults():
        try:
            yield
        except ConfigurationError:
            raise
        except ServerError as error:
            raise ConfigurationError([error.message]) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, JobCancelled):
        click.secho("Stopped. The same command goes on where this one was broken off.", fg="yellow", err=True)
        sys.exit(130)


def _report() -> Callable[[int, int], None]:
    """A line now and then; in a terminal, the hub's library draws a bar."""
    last = time.monotonic()

    def report(arrived: int, total: int) -> None:
        nonlocal last
        if not sys.stderr.isatty() and time.monotonic() - last > INTERVAL:
            last = time.monotonic()
            log.info("%s of %s", gigabytes(arrived), gigabytes(total))

    return report


def _lines(model: "StoredModel") -> Iterator[str]:
    """One line for a model, or two where its name is long; 80 columns at most."""
    used = datetime.fromtimestamp(model.last_used).astimezone().strftime("%Y-%m-%d")
    right = f"{gigabytes(model.bytes):>10}  used {used}  {'complete' if model.complete else 'in part':>8}"
    room = WIDTH - len(right) - 1
    name = model.repo_id
    while len(name) > room:
        yield name[: WIDTH - 1]
        name = name[WIDTH - 1 :]
        if not name:
            break
    yield f"{name:<{room}} {right}"
