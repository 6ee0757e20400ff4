"""What does an edit cost, and is it right, on canvases of any size? Side by side in one run with diffusers.

Each edit goes to a server over HTTP, with everything that belongs to it: base64, decoding, PNG. Beside it, on the same
model with the same steps and scheduler, runs diffusers' inpainting pipeline over the whole canvas, and over what its
``padding_mask_crop`` cuts out. The built-in model's classifier names what was drawn. The last line is JSON.

    python benchmarks/editing.py
    python benchmarks/editing.py --canvases 512 12M --shares 2 --steps 4 --rounds 1
"""

import argparse
import base64
import io
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from canvases import CONTENTS, border_step, canvas, square_mask
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from PIL import Image
from running_server import running_server

from sd_api.models.device import DTYPES
from sd_api.models.sources import BUILTIN_MODEL
from tools.builtin_model.judge import Judge

CANVASES = {
    "512": (512, 512),
    "1024": (1024, 1024),
    "2048": (2048, 2048),
    "4096": (4096, 4096),
    "12M": (4000, 3000),
    "48M": (8000, 6000),
}
SHARES = (0.5, 2, 10, 30, 60)  # per cent of the canvas
PROMPTS = ("dog", "pizza", "owl", "strawberry", "rocket")
SEED = 7
# Pixels on a side of the edit that is compared between canvases, and of the smallest thing that must be recognized.
EDIT = 256
RECOGNIZED = 96
# The context that the server takes by itself for a mask of that size, by its longer side.
CONTEXT = 0.25
# Of the edit whose border is measured: so little changes that what differs there is the seam.
FAINT = 0.2


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--canvases", nargs="+", choices=CANVASES, default=list(CANVASES))
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="the median counts")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--whole", type=float, default=4.2, help="megapixels that diffusers gets at once, at most")
    arguments = parser.parse_args()
    judge = Judge(Path(__file__).parents[1] / "tests" / "models" / "thing_classifier")
    pipeline = _pipeline(arguments.dtype)
    with running_server(arguments.dtype) as url:
        _wait_until_ready(url)
        rows = _table(url, pipeline, judge, arguments)
        ratio = _ratio(url, arguments)
        borders = _borders(url, arguments)
    named = [row["named"] for row in rows if row["side"] >= RECOGNIZED]
    print(f"\nnamed right: {sum(named)} of {len(named)}; kept pixels that differ: {sum(row['differ'] for row in rows)}")
    print(f"an edit of {EDIT}x{EDIT} on 12 megapixels costs {ratio:.2f} times what it costs on 512x512")
    print(json.dumps({"steps": arguments.steps, "rows": rows, "ratio": ratio, "borders": borders}))


def _table(url: str, pipeline: Any, judge: Judge, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    print(f"{'canvas':>6}  {'mask':>6}  {'server':>8}  {'whole':>8}  {'crop':>8}  drawn")
    rows = []
    for name in arguments.canvases:
        image = canvas(CANVASES[name], "photo")
        for number, share in enumerate(arguments.shares):
            row = _row(url, pipeline, judge, image, share / 100, PROMPTS[number % len(PROMPTS)], arguments)
            rows.append({"canvas": name, "share": share, **row})
            times = "  ".join(f"{row[way]:>6.2f} s" for way in ("server", "whole", "crop"))
            wrong = "" if row["named"] else f" for {row['asked']}"
            print(f"{name:>6}  {share:>4g} %  {times}  {row['drawn']}{wrong}, {row['differ']} differ", flush=True)
    return rows


def _row(
    url: str, pipeline: Any, judge: Judge, image: Image.Image, share: float, thing: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One edit in three ways: seconds of each, and what was drawn and kept by the server."""
    mask, box = square_mask(image.size, share)
    side, prompt = box[2] - box[0], f"a {thing} on a blue background"
    by_hand = _by_hand(pipeline, image, mask, prompt, arguments.steps)
    server, result = _median(arguments.rounds, lambda: _edit(url, image, mask, prompt, arguments.steps))
    whole = math.nan
    if image.width * image.height <= arguments.whole * 1e6:
        # Once, because it takes the longest.
        whole, _ = _median(1, lambda: by_hand(width=image.width, height=image.height))
    padding = round(CONTEXT * side)
    crop, _ = _median(arguments.rounds, lambda: by_hand(width=512, height=512, padding_mask_crop=padding))
    kept = np.asarray(mask) == 0
    drawn = judge.name_thing(result.crop(box))
    return {
        "side": side,
        "server": server,
        "whole": whole,
        "crop": crop,
        "differ": int((np.asarray(result)[kept] != np.asarray(image)[kept]).sum()),
        "asked": thing,
        "drawn": drawn,
        "named": drawn == thing,
    }


def _ratio(url: str, arguments: argparse.Namespace) -> float:
    """What an edit costs on 12 megapixels, by what it costs on 512 x 512."""
    large, small = (_seconds(url, CANVASES[name], arguments) for name in ("12M", "512"))
    return large / small


def _seconds(url: str, size: tuple[int, int], arguments: argparse.Namespace) -> float:
    image, (mask, _) = canvas(size, "photo"), square_mask(size, EDIT**2 / (size[0] * size[1]))
    prompt = "a dog on a blue background"
    return _median(arguments.rounds, lambda: _edit(url, image, mask, prompt, arguments.steps))[0]


def _borders(url: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The largest step of colour at the border of a mask, in CIE ΔE, by content and canvas."""
    steps: dict[str, float] = {}
    for name in arguments.canvases:
        for content in CONTENTS:
            image = canvas(CANVASES[name], content)
            mask, box = square_mask(image.size, 0.02)
            result = _edit(url, image, mask, "", arguments.steps, strength=FAINT)
            steps[f"{name} {content}"] = border_step(image, result, box)
            print(f"{name:>6}  border on {content:8}  ΔE {steps[f'{name} {content}']:.2f}", flush=True)
    return steps


def _edit(
    url: str, image: Image.Image, mask: Image.Image, prompt: str, steps: int, strength: float = 1.0
) -> Image.Image:
    form = {
        "prompt": prompt or "a picture",
        "init_image": _text(image),
        "mask_image": _text(mask),
        "num_inference_steps": steps,
        "strength": strength,
        "scheduler": "ddim",
        "seed": SEED,
    }
    response = requests.post(f"{url}/masking", data=form, timeout=3600)
    response.raise_for_status()
    return Image.open(io.BytesIO(base64.b64decode(response.json()["images"][0]["base64"]))).convert("RGB")


def _by_hand(
    pipeline: Any, image: Image.Image, mask: Image.Image, prompt: str, steps: int
) -> Callable[..., Image.Image]:
    def run(**arguments: Any) -> Image.Image:
        made: Image.Image = pipeline(
            prompt=prompt,
            image=image,
            mask_image=mask,
            num_inference_steps=steps,
            strength=1.0,
            guidance_scale=7.5,
            generator=torch.Generator("cpu").manual_seed(SEED),
            **arguments,
        ).images[0]
        return made

    return run


def _pipeline(dtype: str) -> Any:
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(BUILTIN_MODEL, dtype=DTYPES[dtype], safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _median(rounds: int, run: Callable[[], Image.Image]) -> tuple[float, Image.Image]:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def _text(image: Image.Image) -> str:
    file = io.BytesIO()
    # A client's own time is no part of the edit; little is saved by more effort.
    image.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _wait_until_ready(url: str) -> None:
    while requests.get(f"{url}/health", timeout=10).json()["status"] != "ready":
        time.sleep(0.2)


if __name__ == "__main__":
    main()
