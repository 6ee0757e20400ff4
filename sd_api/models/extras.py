"""The optional packages: which extra of this package brings each, and how to install it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Extra = Literal["gguf", "quantize"]

# The packages that an extra brings, by the names under which they are imported.
PACKAGES: dict[str, tuple[Extra, str]] = {
    "gguf": ("gguf", "GGUF files"),
    "bitsandbytes": ("quantize", "weights quantised by bitsandbytes"),
    "torchao": ("quantize", "weights quantised by torchao"),
}

_CHECKOUT = Path(__file__).parents[2]


def missing_extra(package: str) -> str | None:
    """What to say where an optional package is not installed; None where it is.

    Args:
        package: one of ``PACKAGES``.

    Returns:
        The rest of a sentence that starts with the file or the setting that needs it.
    """
    if find_spec(package) is not None:
        return None
    extra, purpose = PACKAGES[package]
    return f"{purpose} need the package {package}, which is not installed: {install_command(extra)}"


def install_command(extra: Extra) -> str:
    """The command that installs an extra, for a checkout or for an installed package."""
    place = "." if (_CHECKOUT / "pyproject.toml").is_file() else "sd-api-server"
    return f"pip install '{place}[{extra}]'"
