"""What LoRAs cost: the steps of a picture with two of them and of fused weights, merging, and switching.

With the built-in model on the processor, and on a graphics card where there is one. What is compared takes turns step
by step in this process, so ratios hold where other programs slow down both. The last line is JSON.

    python benchmarks/adapters.py
"""

import argparse
import copy
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils.peft_utils import set_weights_and_activate_adapters

from sd_api.engine.diffusion import step
from sd_api.generation.operations import TextToImage
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.families.registry import family_of
from sd_api.models.folders import LORA, ModelFolders
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.settings import Limits

SHIPPED = Path(__file__).parents[1] / "tests" / "models" / "adapters" / "black-and-white.safetensors"
WEIGHTS = (0.3, 0.2)


def load_pipeline(device: torch.device, dtype: torch.dtype) -> Any:
    """The built-in model without its safety checker."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL, dtype=dtype)
    pipeline.register_modules(safety_checker=None)
    return pipeline.to(device)


def fused(pipeline: Any, folder: Path) -> Any:
    """The same with the two LoRAs in its weights for good."""
    changed = copy.deepcopy(pipeline)
    names = ["first", "second"]
    for name in names:
        changed.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name)
    set_weights_and_activate_adapters(changed.unet, names, list(WEIGHTS))
    changed.fuse_lora(components=["unet"])
    changed.unload_lora_weights()
    return changed


def begin(parts: Parts, prompt: str, steps: int, side: int) -> Any:
    """A picture before its first step."""
    operation = TextToImage(
        prompt=prompt, steps=steps, guidance=5.0, scheduler="ddim", width=side, height=side, limits=Limits()
    )
    family = family_of(parts.pipeline)
    with torch.inference_mode():
        conditioning = family.encode(parts, operation)
        return family.start(parts, operation, PictureSeeds(seed=1), (side, side), conditioning)


def timed(parts: Parts, row: Any) -> float:
    """The seconds of one step."""
    started = time.perf_counter()
    for error in step(family_of(parts.pipeline), parts, [row]).values():
        raise error
    if parts.device.type == "cuda":
        torch.cuda.synchronize(parts.device)
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of each picture")
    parser.add_argument("--side", type=int, default=512, help="of the pictures, in pixels")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = load_pipeline(device, torch.float16 if device.type == "cuda" else torch.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for copied in ("first", "second"):
            shutil.copy(SHIPPED, folder / f"{copied}.safetensors")
        ours = Parts(pipeline, device, lambda _: None, folders=ModelFolders({LORA: [folder]}))
        inside = Parts(fused(pipeline, folder), device, lambda _: None)
        tags = [f"<lora:{tag}:{weight}>" for tag, weight in zip(("first", "second"), WEIGHTS, strict=True)]
        rows = {
            "two LoRAs": (ours, begin(ours, f"a dog {' '.join(tags)}", options.steps, options.side)),
            "fused": (inside, begin(inside, "a dog", options.steps, options.side)),
            "plain": (ours, begin(ours, "a dog", options.steps, options.side)),
        }
        seconds: dict[str, list[float]] = {what: [] for what in rows}
        for number in range(options.steps):
            for what, (parts, row) in rows.items():
                taken = timed(parts, row)
                # The first ones load and allocate.
                if number > 1:
                    seconds[what].append(taken)
        loras = begin(ours, f"a dog {' '.join(tags)}", options.steps, options.side).moment.loras
        merges = []
        for _ in range(5):
            ours.loras.merged.clear()
            started = time.perf_counter()
            with torch.inference_mode():
                ours.loras.applied(ours.denoiser, loras)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            merges.append(time.perf_counter() - started)
        switches = []
        for number in range(20):
            started = time.perf_counter()
            begin(ours, f"a dog {tags[number % 2]}", options.steps, options.side)
            switches.append(time.perf_counter() - started)
    ratios = [one / other for one, other in zip(seconds["two LoRAs"], seconds["fused"], strict=True)]
    figures = {
        "device": str(device),
        "step_ms": {what: round(1000 * statistics.median(values), 2) for what, values in seconds.items()},
        "two_loras_against_fused": round(statistics.median(ratios), 3),
        "merge_ms": round(1000 * statistics.median(merges), 2),
        "switch_ms": round(1000 * statistics.median(switches), 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
