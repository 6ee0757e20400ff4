"""Imports torch and the libraries of models, and keeps what they print for programmers from the terminal."""

import logging
import os
import sys
import warnings

log = logging.getLogger(__name__)

# What they log below an error is for programmers: features that are missing on this platform, names that will change.
_QUIET = ("accelerate", "diffusers", "huggingface_hub", "torch", "transformers")


def import_libraries() -> None:
    """Import the libraries; it takes seconds, so the terminal says so first. Of their progress bars, downloads stay."""
    if "torch" not in sys.modules:
        log.info("Loading PyTorch, which takes some seconds")
    # Read on import. Operations that Apple's GPUs lack run on the processor, instead of failing.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    # OpenMP's threads yield their core while they wait for each other. By default they spin, and if another program
    # needs a core, the one thread that all others wait for may not run: pictures then take ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    import diffusers
    import transformers
    from huggingface_hub.utils.logging import set_verbosity_error
    from huggingface_hub.utils.tqdm import enable_progress_bars

    set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", module="huggingface_hub")
    # Compiled code is compared with the model itself before it is used; see sd_api/models/backends/compiled.py.
    warnings.filterwarnings("ignore", module=r"torch\._dynamo")
    # Several adapters in one model, which come and go, are what is meant; see sd_api/models/adapters/loras.py.
    warnings.filterwarnings("ignore", module="peft")
    # Loading is a line of the log. Bars count a pipeline's components, the tensors of each and the files of a
    # download; the last of these calls enables the bar of a download's bytes again, which the first two disable.
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.disable_progress_bar()
    enable_progress_bars("huggingface_hub.snapshot_download.transfer")
