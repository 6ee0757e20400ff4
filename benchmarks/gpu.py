"""How fast is the engine on an NVIDIA card? Several configurations and batches, side by side in one run.

The model has the shape of Stable Diffusion 1.5 and random weights. The last line is JSON.

    python benchmarks/gpu.py
"""

import argparse
import json
from dataclasses import asdict
from typing import Any

import torch
from configurations import SIZE, Case, measure_apart
from sd15 import model_directory
from specs import GUIDANCE

CASES = (
    Case("original", "diffusers", "fp32"),
    Case("diffusers", "diffusers", "fp16"),
    Case("diffusers, channels_last", "diffusers", "fp16", channels_last=True),
    Case("diffusers, compiled", "diffusers", "fp16", channels_last=True, compiled=True),
    Case("server", "server", "auto"),
    Case("server, compiled", "server", "auto", compiled=True),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts")
    parser.add_argument("--pictures", type=int, nargs="+", default=[1, 4, 8])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "There is no NVIDIA card, or torch has no CUDA.\n")
    model_directory()
    print(f"{torch.cuda.get_device_name(0)}: {SIZE}x{SIZE}, {arguments.steps} steps, guidance {GUIDANCE}")
    print(f"{'pictures':>8}  {'':24}  {'dtype':>5}  {'prepare':>8}  {'job':>8}  {'step':>8}  {'peak':>7}  {'speed':>6}")
    rows: list[dict[str, Any]] = []
    for pictures in arguments.pictures:
        first = len(rows)
        for case in CASES:
            figures = measure_apart(case, "cuda:0", pictures, arguments.steps, arguments.rounds)
            rows.append({"row": case.name, "pictures": pictures, **asdict(figures)})
            rows[-1]["speed"] = rows[first]["job"] / figures.job
            print(
                f"{pictures:>8}  {case.name:24}  {case.dtype:>5}  {figures.prepare:>6.1f} s  {figures.job:>6.2f} s"
                f"  {1e3 * figures.step:>5.1f} ms  {figures.peak_gb:>4.1f} GB  {rows[-1]['speed']:>5.2f}x",
                flush=True,
            )
    print(json.dumps({"steps": arguments.steps, "rows": rows}))


if __name__ == "__main__":
    main()
