"""Says which dialects a server speaks, and how completely: ``python -m tools.conformance http://127.0.0.1:1337``."""

import sys
import textwrap
from urllib.parse import urlsplit

import click

from tools.conformance.a1111 import A1111
from tools.conformance.openai import OPENAI
from tools.conformance.plugin import PLUGIN
from tools.conformance.server import Dialect, Failed, Run, Server
from tools.conformance.tasks import TASKS

WIDTH = 80

DIALECTS = (PLUGIN, TASKS, A1111, OPENAI)


def _address(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    """The URL, without a slash at the end."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, url))
    except ValueError:
        is_one = False
    if not is_one:
        raise click.BadParameter(f"{url[:100]!r} is no address; give one such as http://127.0.0.1:1337.")
    return url.rstrip("/")


@click.command()
@click.argument("url", callback=_address)
@click.option("--token", help="A token of the server, where it wants one.")
def main(url: str, token: str | None) -> None:
    """Check which dialects the server at URL speaks. It makes about thirty pictures of 64 by 64 pixels.

    The exit status is 0 if all checks of the dialects that it speaks pass, 1 if some do not, and 2 if it speaks none or
    there is no server.
    """
    server = Server(url, token)
    if (reason := _fault(lambda server: server.ask("GET", "/"), server)) is not None:
        click.echo(textwrap.fill(f"No server answers at {url}: {reason}.", WIDTH))
        sys.exit(2)
    click.echo(f"{'dialect':<14}{'spoken':<8}{'checks':>8}")
    faults: list[str] = []
    spoken = 0
    for dialect in DIALECTS:
        if (reason := _fault(dialect.speaks, server)) is not None:
            click.echo(f"{dialect.name:<14}{'no':<8}{'':>8}  {textwrap.shorten(reason, WIDTH - 32)}")
            continue
        spoken += 1
        found = _faults(dialect, server)
        click.echo(f"{dialect.name:<14}{'yes':<8}{f'{len(dialect.checks) - len(found)}/{len(dialect.checks)}':>8}")
        faults += found
    for fault in faults:
        click.echo(textwrap.fill(fault, WIDTH, initial_indent="\n", subsequent_indent="    "))
    sys.exit(2 if not spoken else 1 if faults else 0)


def _faults(dialect: Dialect, server: Server) -> list[str]:
    """The checks that fail, each as a sentence."""
    found = ((run.__doc__, _fault(run, server)) for run in dialect.checks)
    return [f"{dialect.name}: {what} Found: {fault}." for what, fault in found if fault]


def _fault(run: Run, server: Server) -> str | None:
    """What a check finds wrong; None where it passes."""
    try:
        run(server)
    except Failed as failure:
        return str(failure)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        # The answer lacks what every answer has.
        return f"the answer has another shape ({type(error).__name__}: {str(error)[:100]})"
    return None


if __name__ == "__main__":
    main()
