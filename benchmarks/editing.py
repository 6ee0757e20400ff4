"""What does an edit cost, and is it right, on canvases of any size? Side by side in one run with diffusers.

Each edit goes to a server, a process of its own, over HTTP, with everything that belongs to it: base64, decoding, PNG.
Beside it, on the same model with the same steps and scheduler, runs diffusers' inpainting pipeline over the whole
canvas, and over what its ``padding_mask_crop`` cuts out. That one only enlarges what is beyond the model's reach, as
the server does with ``refine=0``, so both are compared there. The built-in model's classifier names what was drawn. An
estimate is compared with the time from a job's beginning to its end. The last line is JSON.
With ``--log``, each row of the first table is written to a file at once, and those that are there are not made again.

    PYTHONPATH=. python benchmarks/editing.py
    PYTHONPATH=. python benchmarks/editing.py --canvases 512 12M --shares 2 --steps 4 --rounds 1
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import requests
import torch
from canvases import CONTENTS, border_step, canvas, square_mask
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from edits_sent import EDIT, SEED, deep_differences, edit, encoded, form_of, sender, sent
from PIL import Image
from server_of import REPOSITORY, server_of

from sd_api.allocator import keep_freed_memory, share_one_arena
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
# Pixels on a side of the smallest thing that must be recognized.
RECOGNIZED = 96
# How a picture of 12 megapixels is sent and answered: the fields beside those of every edit.
WAYS: dict[str, dict[str, str]] = {
    "sent and answered whole, in JSON": {},
    "sent whole, answered as a PNG file": {"png": "1"},
    "sent whole, answered as a patch": {"png": "1", "output": "patch"},
    "a document, answered as a PNG file": {"png": "1", "document": "1"},
    "a document, answered as a patch": {"png": "1", "document": "1", "output": "patch"},
}
# Ways of one edit: by the server, with nothing refined, and by diffusers in whole and in part.
COLUMNS = ("server", "enlarged", "whole", "crop")
# How far an estimate may be from what it estimates, and after how many jobs.
CLOSE, JOBS_BEFORE = 0.2, 5
# The steps of the second edit of a document.
STEPS_AGAIN = 8
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
    parser.add_argument("--log", type=Path, help="the file of the rows that are done, one JSON object a line")
    arguments = parser.parse_args()
    # As the server does, so that both run under the same conditions.
    share_one_arena()
    keep_freed_memory()
    judge = Judge(Path(__file__).parents[1] / "tests" / "models" / "thing_classifier")
    pipeline = _pipeline(arguments.dtype)
    with server_of(REPOSITORY, dtype=arguments.dtype) as (url, _):
        _wait_until_ready(url)
        rows = _table(url, pipeline, judge, arguments)
        ratios = {way: _ratio(url, arguments, way) for way in WAYS}
        again = {answer: _again(url, arguments, answer) for answer in ("image", "patch")}
        borders = _borders(url, arguments)
        deep = {name: deep_differences(url, CANVASES[name], arguments.steps) for name in arguments.canvases}
    named = [row["named"] for row in rows if row["side"] >= RECOGNIZED]
    close = [abs(row["estimate"] / row["worked"] - 1) <= CLOSE for row in rows if row["estimate"]]
    print(f"\nnamed right: {sum(named)} of {len(named)}; kept pixels that differ: {sum(row['differ'] for row in rows)}")
    print(f"kept samples of 16 bits that differ: {sum(deep.values())}")
    print(f"estimates within {CLOSE:.0%}: {sum(close)} of {len(close)}")
    for way, ratio in ratios.items():
        print(f"an edit of {EDIT}x{EDIT} on 12 megapixels, {way}: {ratio:.2f} times that on 512x512")
    for answer, ratio in again.items():
        print(f"the first edit of 12 megapixels by the second one of the document, answered as {answer}: {ratio:.2f}")
    measured = {"ratios": ratios, "again": again, "borders": borders, "deep": deep}
    print(json.dumps({"steps": arguments.steps, "rows": rows, **measured}))


def _table(url: str, pipeline: Any, judge: Judge, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    print(f"{'canvas':>6}  {'mask':>6}  " + "  ".join(f"{way:>8}" for way in COLUMNS) + "  drawn")
    log = arguments.log
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []
    )
    done = {(row["canvas"], row["share"], row["steps"]) for row in rows}
    made = 0
    for name in arguments.canvases:
        image = canvas(CANVASES[name], "photo")
        for number, share in enumerate(arguments.shares):
            if (name, share, arguments.steps) in done:
                continue
            row = _row(url, pipeline, judge, image, share / 100, PROMPTS[number % len(PROMPTS)], arguments)
            if made < JOBS_BEFORE:
                row["estimate"] = None
            made += 1
            rows.append({"canvas": name, "share": share, "steps": arguments.steps, **row})
            if log:
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            times = "  ".join(f"{row[way]:>6.2f} s" for way in COLUMNS)
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
    form = form_of(image, mask, prompt, arguments.steps)
    estimate = requests.post(f"{url}/estimate", data=form, timeout=600).json()["estimate"]
    body = encoded(form)
    jobs = [uuid4().hex for _ in range(arguments.rounds)]
    names = iter(jobs)
    server, result = _median(arguments.rounds, lambda: sent(url, body + f"&job_id={next(names)}".encode()))
    job = requests.get(f"{url}/jobs/{jobs[-1]}", timeout=600).json()["job"]
    refined = len(estimate["regions"][0]["passes"]) > 1
    enlarged = whole = math.nan
    if refined:
        unrefined = encoded(form | {"refine": 0})
        enlarged, _ = _median(arguments.rounds, lambda: sent(url, unrefined))
    if image.width * image.height <= arguments.whole * 1e6:
        # Once, because it takes the longest.
        whole, _ = _median(1, lambda: by_hand(width=image.width, height=image.height))
    # The same context at the same size, where the server draws one region at once.
    one = estimate["regions"][0]["passes"][0]
    padding = min(box[0] - one["box"]["left"], box[1] - one["box"]["top"])
    size = {"width": 512, "height": 512} if refined else one["size"]
    crop, _ = _median(arguments.rounds, lambda: by_hand(**size, padding_mask_crop=padding))
    kept = np.asarray(mask) == 0
    drawn = judge.name_thing(result.crop(box))
    return {
        "side": side,
        "estimate": (estimate["seconds"] or {}).get("expected"),
        "worked": job["ended"] - job["started"],
        "server": server,
        "enlarged": enlarged,
        "whole": whole,
        "crop": crop,
        "differ": int((np.asarray(result)[kept] != np.asarray(image)[kept]).sum()),
        "asked": thing,
        "drawn": drawn,
        "named": drawn == thing,
    }


def _ratio(url: str, arguments: argparse.Namespace, way: str) -> float:
    """What an edit costs on 12 megapixels, by what it costs on 512 x 512; the two take turns."""
    large, small = (sender(url, CANVASES[name], arguments.steps, WAYS[way]) for name in ("12M", "512"))
    return _pairs(arguments.rounds, large, small)


def _again(url: str, arguments: argparse.Namespace, answer: str) -> float:
    """How much longer an edit takes whose image comes with it than the second one of a document; they take turns."""
    way = {"png": "1", "output": answer}
    by_id = sender(url, CANVASES["12M"], STEPS_AGAIN, way | {"document": "1"})
    # Another picture each time, so that nothing of it is known.
    numbers = range(arguments.rounds)
    colds = [sender(url, CANVASES["12M"], STEPS_AGAIN, way | {"number": str(number)}) for number in numbers]
    by_id()
    return _pairs(arguments.rounds, lambda: colds.pop()(), by_id)


def _pairs(rounds: int, one: Callable[[], bytes], other: Callable[[], bytes]) -> float:
    """The median of how much longer one takes than the other."""
    ratios = []
    for _ in range(rounds):
        began = time.perf_counter()
        one()
        between = time.perf_counter()
        other()
        ratios.append((between - began) / (time.perf_counter() - between))
    return statistics.median(ratios)


def _borders(url: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The largest step of colour at the border of a mask, in CIE ΔE, by content and canvas."""
    steps: dict[str, float] = {}
    for name in arguments.canvases:
        for content in CONTENTS:
            image = canvas(CANVASES[name], content)
            mask, box = square_mask(image.size, 0.02)
            result = edit(url, image, mask, "", arguments.steps, strength=FAINT)
            steps[f"{name} {content}"] = border_step(image, result, box)
            print(f"{name:>6}  border on {content:8}  ΔE {steps[f'{name} {content}']:.2f}", flush=True)
    return steps


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


def _wait_until_ready(url: str) -> None:
    while requests.get(f"{url}/health", timeout=10).json()["status"] != "ready":
        time.sleep(0.2)


if __name__ == "__main__":
    main()
