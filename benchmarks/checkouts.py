"""Is this checkout slower than another one? The same picture from a server of each, in turn, over HTTP.

The built-in model on the processor; both servers run all the time, and one of them works. The other checkout may be of
any version, for example ``git worktree add /tmp/before v0.1.0``. The last line is JSON.

    python benchmarks/checkouts.py /tmp/before
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import requests
from server_of import REPOSITORY, Server, server_of
from specs import PROMPT

ALLOWED = 1.03


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    arguments = parser.parse_args()
    form = {"prompt": PROMPT, "seed": 5, "num_inference_steps": arguments.steps}
    form |= {"width": arguments.size, "height": arguments.size}
    rows: list[dict[str, Any]] = []
    print(f"{arguments.size}x{arguments.size}, {arguments.steps} steps, median of {arguments.pairs} pairs")
    print(f"{'dtype':8}{'measured':18}{'other':>9}{'this':>10}{'ratio':>8}{'smallest':>10}{'largest':>9}  allowed")
    for dtype in arguments.dtypes:
        pairs = list(_pairs(arguments.other, dtype, form, arguments.pairs))
        for number, measured in enumerate(("request", "processor time")):
            others, these = ([times[number] for times in side] for side in zip(*pairs, strict=True))
            ratios = [this / other for other, this in zip(others, these, strict=True)]
            other, this, ratio = (statistics.median(values) for values in (others, these, ratios))
            rows.append({"dtype": dtype, "measured": measured, "other": other, "this": this, "ratio": ratio})
            print(
                f"{dtype:8}{measured:14}{other:>11.3f} s{this:>8.3f} s{ratio:>8.3f}{min(ratios):>10.3f}"
                f"{max(ratios):>9.3f}  {ALLOWED}",
                flush=True,
            )
    print(json.dumps({"size": arguments.size, "steps": arguments.steps, "rows": rows}))


# Seconds of one request, and of its server's processor time, which other programs affect less.
Times = tuple[float, float]


def _pairs(other: Path, dtype: str, form: dict[str, Any], count: int) -> Iterator[tuple[Times, Times]]:
    """The other checkout's times, and this one's."""
    with server_of(other, dtype=dtype) as one, server_of(REPOSITORY, dtype=dtype) as two:
        for server in (one, two, two, one):
            _measure(server, form)
        for number in range(count):
            # Each is first in turn, or what one leaves behind would always burden the same one.
            if number % 2:
                this, before = _measure(two, form), _measure(one, form)
            else:
                before, this = _measure(one, form), _measure(two, form)
            yield before, this


def _measure(server: Server, form: dict[str, Any]) -> Times:
    process = psutil.Process(server.process)
    started, worked = time.perf_counter(), sum(process.cpu_times()[:2])
    answer = requests.post(f"{server.url}/txt2img", data=form, timeout=600)
    assert answer.ok, answer.text
    return time.perf_counter() - started, sum(process.cpu_times()[:2]) - worked


if __name__ == "__main__":
    main()
