"""What single choices of the engine bring: each call without one and with it, side by side in one run.

The model has the shape of Stable Diffusion 1.5 and random weights, on the CPU, in the precision that the server
chooses. The last line is JSON.

    python benchmarks/choices.py
"""

import argparse
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image
from sd15 import model_directory
from specs import photograph, text_to_image

from sd_api.allocator import keep_freed_memory, share_one_arena
from sd_api.imaging.encoding import encode_png
from sd_api.models.backends.compiled import CompiledUNet, keep_compiled_code
from sd_api.models.converted import copy_in_background, find_copy
from sd_api.models.device import DeviceChoice, choose_device
from sd_api.models.libraries import import_libraries
from sd_api.models.library import ModelLibrary
from sd_api.settings import Settings

SIZE = 512


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import_libraries()
    device = choose_device("cpu", "auto")
    share_one_arena()
    keep_freed_memory()
    keep_compiled_code()
    path = model_directory()
    print(f"{device.dtype}, {torch.get_num_threads()} threads, median of {rounds}")
    print(f"{'':52}  {'without':>9}  {'with':>9}  {'ratio':>6}")
    rows = []
    for name, without, chosen in (*_loading(path, device), *_model_calls(path, device), *_encoding()):
        pairs = [(_seconds(without), _seconds(chosen)) for _ in range(rounds)]
        before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
        rows.append({"choice": name, "without": before, "with": after})
        print(f"{name:52}  {before * 1e3:>6.0f} ms  {after * 1e3:>6.0f} ms  {before / after:>5.1f}x", flush=True)
    print(json.dumps({"dtype": device.dtype, "rows": rows}))


Row = tuple[str, Callable[[], object], Callable[[], object]]


def _loading(path: Path, device: DeviceChoice) -> list[Row]:
    """From single precision, and from the converted copy."""
    copied = find_copy(path, device.torch_dtype)
    if copied is None:
        copy_in_background(path, device.torch_dtype).join()
        copied = find_copy(path, device.torch_dtype)
    assert copied is not None

    def load(directory: Path) -> Callable[[], object]:
        return lambda: AutoPipelineForText2Image.from_pretrained(directory, dtype=device.torch_dtype)

    return [("a converted copy, for loading", load(path), load(copied))]


def _model_calls(path: Path, device: DeviceChoice) -> list[Row]:
    settings = Settings.model_validate({"model": str(path), "device": "cpu", "requires_safety_checker": False})
    model = ModelLibrary(settings, device).get(None)
    unet, tokens = model.parts.denoiser, model.parts.pipeline.tokenizer.model_max_length

    def step(rows: int) -> Callable[[], object]:
        latents = torch.randn(rows, unet.config.in_channels, SIZE // 8, SIZE // 8, dtype=unet.dtype)
        words = torch.randn(rows, tokens, unet.config.cross_attention_dim, dtype=unet.dtype)
        timesteps = torch.full((rows,), 500.0)
        return torch.inference_mode()(lambda: unet(latents, timesteps, encoder_hidden_states=words))

    numbers = itertools.count()

    @torch.inference_mode()
    def encode(prompt: str) -> None:
        model.family.encode(model.parts, text_to_image(SIZE, steps=1, prompt=prompt).operation)

    model.parts.place([unet])
    one_row, two_rows = step(1), step(2)
    two_rows()
    plain = unet.module
    compiled = CompiledUNet(model.parts, [f"{SIZE}x{SIZE}"])
    compiled.compile_in_background().join()

    def by(call: Callable[..., object]) -> Callable[[], object]:
        """A step of the loop, which runs the component by this."""

        def two_rows_by() -> object:
            unet.call = call
            return two_rows()

        return two_rows_by

    return [
        ("compiled, a step", by(plain), by(compiled)),
        ("one row instead of two, a step without guidance", by(plain), one_row),
        (
            "prompts that are kept, encoding a known one",
            lambda: encode(f"a dog {next(numbers)}"),
            lambda: encode("a dog"),
        ),
    ]


def _encoding() -> list[Row]:
    picture = photograph(SIZE, SIZE)

    def pillows() -> None:
        picture.save(io.BytesIO(), "PNG")

    return [("zlib's run lengths, encoding a PNG", pillows, lambda: encode_png(picture))]


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
