"""The UNet compiled for some sizes, in the background: until that is done, and for all others, it runs as it is."""

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import cached_assets_path

from sd_api.generation.limits import MIN_SIDE
from sd_api.imaging.sizing import padded_size
from sd_api.models.memory import is_out_of_memory

log = logging.getLogger(__name__)

# What the compiler's answer may differ by, as a share of the answer's own size. Rounding in half precision makes
# less than half of that; a compiler that is wrong makes far more.
TOLERANCE = 0.05

ROWS = 2
"""Those of one picture with guidance: without the prompt, and with it."""


class CompiledUNet:
    """Takes the place of a UNet's ``forward``: calls of a compiled shape go to what was compiled for it.

    Nothing is taken from the compiler on trust: for each shape its answer is first compared with the UNet's own.

    Args:
        pipeline: whose UNet it is, on its device; all pipelines that share the UNet get the benefit.
        sizes: of pictures, such as ``512x768``, which is width by height.
    """

    def __init__(self, pipeline: DiffusionPipeline, sizes: Iterable[str]) -> None:
        self._pipeline = pipeline
        self._unet: Any = pipeline.unet
        self._sizes = tuple(sizes)
        self._plain = self._unet.forward
        # By the shapes of one row: latents and words.
        self._compiled: dict[tuple[torch.Size, torch.Size], Any] = {}
        self._on_cpu = self._unet.device.type == "cpu"
        self._unet.forward = self._forward

    def compile_in_background(self) -> threading.Thread:
        """Begin to compile; each size is used as soon as it is done."""
        # A daemon, so that it does not keep a stopped process alive.
        thread = threading.Thread(target=self._compile_all, name="compiling", daemon=True)
        thread.start()
        return thread

    def _forward(
        self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, *rest: Any, **options: Any
    ) -> Any:
        """The UNet's ``forward``."""
        shapes = sample.shape[1:], encoder_hidden_states.shape[1:]
        compiled = self._compiled.get(shapes)
        given = {name for name, value in options.items() if value is not None}
        unknown = rest or given - {"added_cond_kwargs", "return_dict"} or options.get("return_dict", True)
        # A processor gets one guided picture at a time. For a batch, a GPU's code takes any number of rows but one.
        rows = len(sample)
        if compiled is None or unknown or (rows != ROWS if self._on_cpu else rows < ROWS):
            return self._plain(sample, timestep, encoder_hidden_states, *rest, **options)
        # Schedulers differ in whether timesteps are whole, and in how latents lie in memory; what was compiled for
        # one kind would be compiled once more for the other, while somebody waits.
        timestep = torch.as_tensor(timestep, dtype=torch.float32, device=sample.device)
        try:
            return compiled(sample.contiguous(), timestep, encoder_hidden_states, options.get("added_cond_kwargs"))
        except Exception as failure:
            if is_out_of_memory(failure):
                raise
            # Something that is new to it would have had to be compiled now. It is not tried again with every step.
            log.warning("What was compiled is not used any more: %s", _first_line(failure))
            del self._compiled[shapes]
            return self._plain(sample, timestep, encoder_hidden_states, *rest, **options)

    def _compile_all(self) -> None:
        for size in self._sizes:
            started = time.monotonic()
            try:
                with torch.inference_mode():
                    error = self._compile(size)
            except Exception as failure:
                # It needs a C++ compiler, knows not every module, and fails in as many ways as it has parts.
                log.warning("Nothing is compiled for %s: pictures are made as without: %s", size, _first_line(failure))
                log.debug("The compiler's failure", exc_info=True)
                continue
            if error <= TOLERANCE:
                log.info("Compiled for %s in %.0f s", size, time.monotonic() - started)
            else:
                log.warning("What was compiled for %s is off by %.0f %%; it is not used", size, 100 * error)

    def _compile(self, size: str) -> float:
        """Compile for one size, and use it if it is right.

        Returns:
            The error of what was compiled, as a share of the answer.
        """
        plain = self._plain

        def forward(sample: Any, timestep: Any, encoder_hidden_states: Any, added_cond_kwargs: Any) -> Any:
            return plain(
                sample, timestep, encoder_hidden_states, added_cond_kwargs=added_cond_kwargs, return_dict=False
            )

        arguments = self._example(size)
        sample, _, encoder_hidden_states, added = arguments
        if not self._on_cpu:
            for tensor in (sample, encoder_hidden_states, *(added or {}).values()):
                torch._dynamo.mark_dynamic(tensor, 0)
        # Freezing packs the weights for the processor's matrix units, which takes their memory once more.
        compiled: Any = torch.compile(forward, fullgraph=True, dynamic=False, options={"freezing": self._on_cpu})
        expected, answer = forward(*arguments)[0].float(), compiled(*arguments)[0].float()
        error = float((answer - expected).norm() / expected.norm())
        if error <= TOLERANCE:
            self._compiled[sample.shape[1:], encoder_hidden_states.shape[1:]] = compiled
        return error

    def _example(self, size: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Any]:
        """What a pipeline gives the UNet for one picture with guidance: noise, in the middle of the schedule."""
        unet, pipeline = self._unet, self._pipeline
        factor = pipeline.vae_scale_factor
        asked_width, asked_height = map(int, size.split("x"))
        width, height = padded_size((asked_width, asked_height), multiple=factor, minimum=MIN_SIDE)
        generator = torch.Generator("cpu").manual_seed(0)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator).to(unet.device, unet.dtype)

        sample = noise(ROWS, unet.config.in_channels, height // factor, width // factor)
        words = noise(ROWS, pipeline.tokenizer.model_max_length, unet.config.cross_attention_dim)
        added = None
        if unet.config.addition_embed_type == "text_time":
            # As SDXL's pipeline has it: the pooled words, and six sizes.
            pooled = noise(ROWS, pipeline.text_encoder_2.config.projection_dim)
            sizes = [height, width, 0, 0, height, width]
            added = {"text_embeds": pooled, "time_ids": torch.tensor([sizes] * ROWS).to(unet.device, unet.dtype)}
        return sample, torch.tensor(500.0, device=unet.device), words, added


def _first_line(failure: Exception) -> str:
    cause = getattr(failure, "inner_exception", failure)
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def keep_compiled_code() -> None:
    """Have the compiler keep its work in the cache folder for the next start; it reads this when it is imported."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cached_assets_path("sd-api-server", "compiled")))
