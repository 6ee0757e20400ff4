"""What the commands share before they work: their options, the log, and what cannot be started with."""

import atexit
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from sd_api.errors import ConfigurationError
from sd_api.logs import Lines, QueuedLog, wrapped
from sd_api.models.files import find_source_faults
from sd_api.models.libraries import import_libraries
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Settings, load_settings

# Seconds that a denoising step has to end in after Ctrl-C, before the process ends without it.
PATIENCE = 0.5

# A checkout has server.py; an installed package looks in the folder in which its command is called.
_CHECKOUT = Path(__file__).resolve().parent.parent
CONFIG_FILE = (_CHECKOUT if (_CHECKOUT / "server.py").is_file() else Path.cwd()) / "config.json"


def default_of(setting: str) -> str:
    """The default of a setting, for the help of its option."""
    return str(Settings.model_fields[setting].default)


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG_FILE,
    show_default="config.json beside server.py; without one, in this folder",
    help="The configuration file, the same for a server and its workers.",
)
device_option = click.option(
    "--device", help="Run on this device: auto, cuda, cuda:N, xpu, mps or cpu.", show_default=default_of("device")
)
demo_option = click.option("--demo", is_flag=True, help="Use the small built-in model, which needs no download.")


def read_settings(config: Path, overrides: Mapping[str, object], *, demo: bool) -> Settings:
    """Read the configuration file; the default one may be missing, then every setting has its default.

    Args:
        config: the file.
        overrides: see ``load_settings``.
        demo: whether the built-in model replaces all others.

    Raises:
        ConfigurationError: with every fault, those of the models' files included.
    """
    if demo:
        # Its safety checker knows only the demo's own pictures, so other models are left out.
        overrides = {**overrides, "model": str(BUILTIN_MODEL), "custom_models": []}
    exists = config.exists() or config != CONFIG_FILE
    return load_settings(config if exists else None, overrides, check_source=find_source_faults)


def configure_logging() -> Callable[[], None]:
    """Write this program's own lines to the terminal, and warnings of all others.

    Returns:
        What writes the last lines; to be called before the process ends in any way that runs no more of Python.
    """
    handler = QueuedLog()
    handler.setFormatter(Lines("%(asctime)s  %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if not sys.warnoptions:
        # Those of the module warnings are for programmers, who ask for them with python -W.
        warnings.simplefilter("ignore")
    logging.getLogger("sd_api").setLevel(logging.INFO)
    atexit.register(handler.stop)
    return handler.stop


def stop_signals() -> list[signal.Signals]:
    """The signals that ask a process to end: Ctrl-C, a request to terminate, the end of its terminal."""
    signals = [signal.SIGINT, signal.SIGTERM]
    # Where nohup is at work, the end of the terminal is ignored, and stays so.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


@contextmanager
def exit_at_faults() -> Iterator[None]:
    """End the process with every fault of the configuration in red, where there are any."""
    try:
        yield
    except ConfigurationError as error:
        for fault in error.faults:
            click.secho(wrapped(fault, indent=2), fg="red", err=True)
        sys.exit(1)


def check_device(settings: Settings) -> None:
    """Refuse a device that is not there before anything is started; what "auto" finds is always there.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    if settings.device not in ("auto", "cpu"):
        # An ordinary start need not wait for torch.
        import_libraries()
        from sd_api.models.device import choose_device

        choose_device(settings.device, settings.dtype)
