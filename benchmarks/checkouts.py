"""Is this checkout slower than another one? The same picture from a server of each, in turn, over HTTP.

The built-in model on the processor; both servers run all the time, and one of them works. The other checkout may be of
any version, for example ``git worktree add /tmp/before v0.1.0``. The last line is JSON.

    python benchmarks/checkouts.py /tmp/before
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import requests
from server_of import REPOSITORY, server_of
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
    print(f"{'dtype':8}{'other':>10}{'this':>10}{'ratio':>8}{'smallest':>10}{'largest':>9}  allowed")
    for dtype in arguments.dtypes:
        with server_of(arguments.other, dtype=dtype) as other, server_of(REPOSITORY, dtype=dtype) as this:
            pairs = [(_seconds(other, form), _seconds(this, form)) for _ in range(arguments.pairs + 1)][1:]
        before, now = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios = [new / old for old, new in pairs]
        ratio = statistics.median(ratios)
        rows.append({"dtype": dtype, "other": before, "this": now, "ratio": ratio, "pairs": pairs})
        print(
            f"{dtype:8}{before:>8.3f} s{now:>8.3f} s{ratio:>8.3f}{min(ratios):>10.3f}{max(ratios):>9.3f}  {ALLOWED}",
            flush=True,
        )
    print(json.dumps({"size": arguments.size, "steps": arguments.steps, "rows": rows}))


def _seconds(url: str, form: dict[str, Any]) -> float:
    started = time.perf_counter()
    answer = requests.post(f"{url}/txt2img", data=form, timeout=600)
    assert answer.ok, answer.text
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
