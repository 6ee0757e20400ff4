"""What the server adds to a picture: one request over HTTP beside the same call of the diffusers pipeline.

Both run in this process, in turn, with the built-in model: the pipeline by hand with the arguments that the
server gives it, and a form post to a real server on a free port. The last line is JSON.

    python benchmarks/overhead.py
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import requests
import torch
from diffusers import StableDiffusionPipeline
from running_server import running_server
from specs import PROMPT

from sd_api.models.device import DTYPES
from sd_api.models.sources import BUILTIN_MODEL

SEED = 5

# The server may add this share of the pipeline's time, or this many seconds, whichever is larger.
ALLOWED_SHARE = 0.05
ALLOWED_SECONDS = 0.015


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 20])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    arguments = parser.parse_args()
    size, dtype, rounds = arguments.size, arguments.dtype, arguments.rounds

    pipeline = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL, dtype=DTYPES[dtype])
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    with running_server(dtype) as url, requests.Session() as session:

        def by_hand(**numbers: int) -> None:
            pipeline(PROMPT, **numbers, generator=torch.Generator("cpu").manual_seed(SEED))

        def by_http(**numbers: int) -> None:
            form = {"prompt": PROMPT, "seed": SEED, **numbers}
            answer = session.post(f"{url}/txt2img", data=form, timeout=600)
            assert answer.json()["status"] == "success", answer.text

        for steps in arguments.steps:
            call = {"num_inference_steps": steps, "width": size, "height": size}
            rows.append({"steps": steps, **_compare(partial(by_hand, **call), partial(by_http, **call), rounds)})

    print(f"{size}x{size}, {dtype}, {torch.get_num_threads()} threads, median of {rounds}\n")
    print(f"{'steps':>5}  {'pipeline':>9}  {'server':>9}  {'added':>9}  {'share':>6}  {'allowed':>8}")
    for row in rows:
        print(
            f"{row['steps']:>5}  {row['pipeline_ms']:>6.1f} ms  {row['server_ms']:>6.1f} ms  {row['added_ms']:>6.1f} ms"
            f"  {row['share']:>6.1%}  {row['allowed_ms']:>5.1f} ms"
        )
    print(json.dumps({"size": size, "dtype": dtype, "rows": rows}))


def _compare(by_hand: Callable[[], None], by_http: Callable[[], None], rounds: int) -> dict[str, float]:
    """Time both in turn, so that what slows the machine down slows both."""
    for call in (by_hand, by_http, by_hand, by_http):
        call()
    pairs = [(_seconds(by_hand), _seconds(by_http)) for _ in range(rounds)]
    pipeline = statistics.median(hand for hand, _ in pairs)
    added = statistics.median(http - hand for hand, http in pairs)
    return {
        "pipeline_ms": pipeline * 1e3,
        "server_ms": statistics.median(http for _, http in pairs) * 1e3,
        "added_ms": added * 1e3,
        "share": added / pipeline,
        "allowed_ms": max(ALLOWED_SHARE * pipeline, ALLOWED_SECONDS) * 1e3,
    }


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
