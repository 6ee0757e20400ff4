"""What the server adds to a picture: one request over HTTP beside the same call of the diffusers pipeline.

Both run in this process, in turn, with the built-in model: the pipeline by hand with the arguments that the
server gives it, and a form post to a real server on a free port. The last line is JSON.

    python benchmarks/overhead.py
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable

import requests
import torch
import uvicorn
from diffusers import StableDiffusionPipeline

from sd_api.app import create_app
from sd_api.models.sources import BUILTIN_MODEL
from sd_api.serving import SPARE_THREADS, Edge, listen
from sd_api.settings import Settings
from sd_api.wiring import build_services

PROMPT = "a dog on a blue background"

# The server may add this share of the pipeline's time, or this many seconds, whichever is larger.
ALLOWED_SHARE = 0.05
ALLOWED_SECONDS = 0.015


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    arguments = parser.parse_args()

    settings = Settings.model_validate(
        {"model": str(BUILTIN_MODEL), "device": "cpu", "dtype": arguments.dtype, "port": 0}
    )
    services = build_services(settings)
    services.queue.start()
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        Edge(create_app(settings, services), settings.limits.max_request_bytes, SPARE_THREADS),
        interface="asgi3",
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=([listener],), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/txt2img"

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
    pipeline = StableDiffusionPipeline.from_pretrained(BUILTIN_MODEL, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    session = requests.Session()
    size = arguments.size

    print(f"{size}x{size}, {arguments.dtype}, {torch.get_num_threads()} threads, median of {arguments.rounds}\n")
    print(f"{'steps':>5}  {'pipeline':>9}  {'server':>9}  {'added':>9}  {'share':>6}  {'allowed':>8}")
    rows = []
    for steps in arguments.steps:

        def by_hand(steps: int = steps) -> None:
            with torch.inference_mode():
                pipeline(
                    PROMPT,
                    width=size,
                    height=size,
                    num_inference_steps=steps,
                    generator=torch.Generator("cpu").manual_seed(5),
                )

        def by_http(steps: int = steps) -> None:
            form = {"prompt": PROMPT, "width": size, "height": size, "num_inference_steps": steps, "seed": 5}
            answer = session.post(url, data=form, timeout=600)
            assert answer.json()["status"] == "success", answer.text

        added = _compare(by_hand, by_http, arguments.rounds)
        rows.append({"steps": steps, **added})
        print(
            f"{steps:>5}  {added['pipeline_ms']:>6.1f} ms  {added['server_ms']:>6.1f} ms  {added['added_ms']:>6.1f} ms"
            f"  {added['share']:>6.1%}  {added['allowed_ms']:>5.1f} ms"
        )
    server.should_exit = True
    services.queue.stop(timeout=10)
    print(json.dumps({"size": size, "dtype": arguments.dtype, "rows": rows}))


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
