"""Folders whose weights were published in fewer bits: how they are quantized, and what reading them needs."""

from collections.abc import Mapping
from pathlib import Path

import torch

from sd_api.errors import ModelUnavailable
from sd_api.models.allowed_classes import shown
from sd_api.models.bounded_files import read_object
from sd_api.models.extras import missing_extra
from sd_api.models.headers import Header

# The values of quant_method in a part's configuration, and the packages that read them.
_PACKAGES_OF_METHODS: Mapping[str, str] = {
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "torchao": "torchao",
}


def quantization_of(folder: Path) -> str | None:
    """The method by which the weights in a part's folder are quantised; None where they are not."""
    config = folder / "config.json"
    found = read_object(config).get("quantization_config") if config.is_file() else None
    if found is None:
        return None
    return str(found.get("quant_method") or "unknown") if isinstance(found, dict) else "unknown"


def refuse_whole_numbers(place: Path, header: Header) -> None:
    """Refuse weights that are whole numbers where nothing says what they stand for.

    Args:
        place: their file or folder, for the message.
        header: of the file.

    Raises:
        ModelUnavailable: there are such weights.
    """
    if (kind := header.whole_numbers) is not None:
        raise ModelUnavailable(
            f"{place} was quantised by another program: its weights are whole numbers ({kind}), and only that program "
            "knows what they stand for. Get them in half precision, in fp8, or as GGUF."
        )


def refuse_unreadable(folder: Path, library: str) -> None:
    """Refuse a quantised part that cannot be read here.

    Args:
        folder: of the part.
        library: that of its class, ``diffusers`` or ``transformers``.

    Raises:
        ModelUnavailable: its method is not known, or the package or the device that it needs is not here.
    """
    method = quantization_of(folder)
    if method is None:
        return
    if (package := _PACKAGES_OF_METHODS.get(method)) is None:
        known = ", ".join(dict.fromkeys(_PACKAGES_OF_METHODS.values()))
        raise ModelUnavailable(f"{folder} is quantised by {shown(method, 40)!r}; this server reads weights of {known}.")
    if reason := _why_unusable(package, library):
        raise ModelUnavailable(f"{folder}: {reason}.")


def _why_unusable(package: str, library: str) -> str | None:
    if reason := missing_extra(package):
        return reason
    # bitsandbytes itself computes on a processor, and transformers lets it; diffusers does not.
    if package == "bitsandbytes" and library != "transformers" and not _has_card():
        return "diffusers reads weights quantised by bitsandbytes on graphics cards only, and there is none"
    return None


def _has_card() -> bool:
    return any(kind.is_available() for kind in (torch.cuda, torch.xpu, torch.mps))
