"""A UNet compiled for some sizes, in the background: until that is done, and for all others, it runs as it is."""

import copy
import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import torch
from huggingface_hub import cached_assets_path

from sd_api.generation.operation import MIN_SIDE
from sd_api.imaging.sizing import padded_size
from sd_api.models.components import Parts
from sd_api.models.memory import is_out_of_memory
from sd_api.models.reasons import first_line

log = logging.getLogger(__name__)

# What the compiler's answer may differ by, as a share of the answer's own size. Rounding in half precision makes
# less than half of that; a compiler that is wrong makes far more.
TOLERANCE = 0.05

ROWS = 2
"""Those of one picture with guidance: without the prompt, and with it."""


class CompiledUNet:
    """Takes the place of a component's callable: calls of a compiled shape go to what was compiled for it.

    Nothing is taken from the compiler on trust: for each shape its answer is first compared with the UNet's own.
    The compiler works on a copy of the UNet, which nothing else uses meanwhile. Once it is done, the copy takes the
    place of the original, on the thread that runs the model.

    Args:
        parts: The model whose denoiser it is.
        sizes: Of pictures, such as ``512x768``, which is width by height.
    """

    def __init__(self, parts: Parts, sizes: Iterable[str]) -> None:
        self._parts = parts
        self._sizes = tuple(sizes)
        # By the shapes of one row: latents and words.
        self._compiled: dict[tuple[torch.Size, torch.Size], Any] = {}
        self._on_cpu = parts.device.type == "cpu"
        self._finished: torch.nn.Module | None = None

    def compile_in_background(self) -> threading.Thread:
        """Begin to compile; to be called on the thread that runs the model."""
        self._parts.denoiser.call = self
        # A daemon, so that it does not keep a stopped process alive.
        thread = threading.Thread(target=self._compile_all, name="compiling", daemon=True)
        thread.start()
        return thread

    def __call__(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        *,
        encoder_hidden_states: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
        added_cond_kwargs: dict[str, torch.Tensor] | None = None,
        return_dict: bool = False,
        **controlled: Any,
    ) -> Any:
        """Run the UNet; the arguments are those of its ``forward``; with what ControlNets add, it runs as it is."""
        if self._finished is not None:
            self._take_copy(self._finished)
        module = self._parts.denoiser.module
        shapes = sample.shape[1:], encoder_hidden_states.shape[1:]
        compiled = self._compiled.get(shapes) if self._finished is not None else None
        # A processor gets one guided picture at a time. For a batch, a GPU's code takes any number of rows but one.
        rows = len(sample)
        unknown = timestep_cond is not None or bool(controlled) or (rows != ROWS if self._on_cpu else rows < ROWS)
        if compiled is not None and not unknown:
            try:
                # Schedulers differ in how latents lie in memory; what was compiled for one kind would be compiled
                # once more for the other, while a client waits.
                return compiled(sample.contiguous(), timesteps, encoder_hidden_states, added_cond_kwargs)
            except Exception as failure:
                if is_out_of_memory(failure):
                    raise
                # A shape that is new to it would have had to be compiled now. It is not tried again with every step.
                log.warning("The compiled code is not used any more: %s", _reason(failure))
                del self._compiled[shapes]
        return module(
            sample,
            timesteps,
            encoder_hidden_states=encoder_hidden_states,
            timestep_cond=timestep_cond,
            added_cond_kwargs=added_cond_kwargs,
            return_dict=return_dict,
            **controlled,
        )

    def _take_copy(self, module: torch.nn.Module) -> None:
        component = self._parts.denoiser
        if component.module is not module:
            component.module = module
            # The pipeline holds a reference, which would keep the original in memory.
            self._parts.pipeline.register_modules(**{component.name: module})

    def _compile_all(self) -> None:
        try:
            module = copy.deepcopy(self._parts.denoiser.module)
        except Exception as failure:
            log.warning("Nothing is compiled, because there is no memory for it: %s", _reason(failure))
            return
        for size in self._sizes:
            started = time.monotonic()
            try:
                with torch.inference_mode():
                    error = self._compile(module, size)
            except Exception as failure:
                # It needs a C++ compiler, knows not every module, and fails in as many ways as it has parts.
                log.warning("Nothing is compiled for %s: pictures are made as without: %s", size, _reason(failure))
                log.debug("The compiler's failure", exc_info=True)
                continue
            if error <= TOLERANCE:
                log.info("Compiled for %s in %.0f s", size, time.monotonic() - started)
            else:
                log.warning("What was compiled for %s is off by %.0f %%; it is not used", size, 100 * error)
        if self._compiled:
            self._finished = module

    def _compile(self, module: torch.nn.Module, size: str) -> float:
        """Compile for one size, and use it if it is right.

        Returns:
            The error of what was compiled, as a share of the answer.
        """

        def forward(sample: Any, timesteps: Any, encoder_hidden_states: Any, added_cond_kwargs: Any) -> Any:
            return module(
                sample, timesteps, encoder_hidden_states, added_cond_kwargs=added_cond_kwargs, return_dict=False
            )

        arguments = self._example(size)
        sample, timesteps, encoder_hidden_states, added = arguments
        if not self._on_cpu:
            for tensor in (sample, timesteps, encoder_hidden_states, *(added or {}).values()):
                torch._dynamo.mark_dynamic(tensor, 0)
        # Freezing packs the weights for the processor's matrix units, which takes their memory once more.
        compiled: Any = torch.compile(forward, fullgraph=True, dynamic=False, options={"freezing": self._on_cpu})
        expected, answer = forward(*arguments)[0].float(), compiled(*arguments)[0].float()
        error = float((answer - expected).norm() / expected.norm())
        if error <= TOLERANCE:
            self._compiled[sample.shape[1:], encoder_hidden_states.shape[1:]] = compiled
        return error

    def _example(self, size: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Any]:
        """What the denoising loop gives the UNet for one picture with guidance, in the middle of the schedule."""
        unet, pipeline = self._parts.denoiser, self._parts.pipeline
        factor = pipeline.vae_scale_factor
        asked_width, asked_height = map(int, size.split("x"))
        width, height = padded_size((asked_width, asked_height), multiple=factor, minimum=MIN_SIDE)
        generator = torch.Generator("cpu").manual_seed(0)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator).to(self._parts.device, unet.dtype)

        sample = noise(ROWS, unet.config.in_channels, height // factor, width // factor)
        words = noise(ROWS, pipeline.tokenizer.model_max_length, unet.config.cross_attention_dim)
        added = None
        if unet.config.addition_embed_type == "text_time":
            # As SDXL's pipeline has it: the pooled words, and six sizes.
            pooled = noise(ROWS, pipeline.text_encoder_2.config.projection_dim)
            sizes = [height, width, 0, 0, height, width]
            added = {"text_embeds": pooled, "time_ids": torch.tensor([sizes] * ROWS).to(self._parts.device, unet.dtype)}
        return sample, torch.full((ROWS,), 500.0, device=self._parts.device), words, added


def compile_blocks(module: Any, **options: Any) -> None:
    """Have a transformer's blocks that repeat compiled at their first call: one compilation serves all of them.

    Args:
        module: the transformer; one that names no such blocks stays as it is.
        options: of ``torch.compile``.
    """
    if getattr(module, "_repeated_blocks", None):
        module.compile_repeated_blocks(**options)


def _reason(failure: Exception) -> str:
    return first_line(getattr(failure, "inner_exception", failure))


def keep_compiled_code() -> None:
    """Have the compiler keep its work in the cache folder for the next start; it reads this when it is imported."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cached_assets_path("sd-api-server", "compiled")))
