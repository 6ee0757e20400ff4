"""How fast is the engine on a processor? The same picture in several configurations, side by side in one run.

The model has the shape of Stable Diffusion 1.5 and random weights. The floor is the time that the UNet's
arithmetic would take at the speed of this machine's matrix multiplication in bf16. The last line is JSON.

    python benchmarks/engine.py
"""

import argparse
import importlib.util
import json
import time
from dataclasses import asdict

import torch
from configurations import SIZE, Case, measure_apart
from sd15 import TFLOP_PER_STEP, model_directory
from specs import GUIDANCE

CASES = (
    Case("original", "diffusers", "fp32"),
    Case("diffusers", "diffusers", "bf16"),
    Case("diffusers, channels_last", "diffusers", "bf16", channels_last=True),
    Case("server", "server", "auto"),
    Case("server, compiled", "server", "auto", compiled=True),
    Case("openvino", "openvino", "bf16"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="the fastest counts")
    parser.add_argument("--rows", nargs="+", choices=[case.name for case in CASES])
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.rows is None or case.name in arguments.rows]
    if importlib.util.find_spec("openvino") is None:
        cases = [case for case in cases if case.runner != "openvino"]
    model_directory()
    floor = TFLOP_PER_STEP / _tflop_per_second()
    print(f"{SIZE}x{SIZE}, {arguments.steps} steps, guidance {GUIDANCE}, {torch.get_num_threads()} threads")
    print(f"{'':24}  {'dtype':>5}  {'prepare':>8}  {'job':>8}  {'step':>7}  {'peak':>7}  {'speed':>6}  {'to floor':>8}")
    rows = []
    for case in cases:
        figures = measure_apart(case, "cpu", 1, arguments.steps, arguments.rounds)
        rows.append({"row": case.name, **asdict(figures), "of_floor": figures.step / floor})
        rows[-1]["speed"] = rows[0]["job"] / figures.job
        print(
            f"{case.name:24}  {case.dtype:>5}  {figures.prepare:>6.1f} s  {figures.job:>6.1f} s  {figures.step:>5.2f} s"
            f"  {figures.peak_gb:>4.1f} GB  {rows[-1]['speed']:>5.2f}x  {rows[-1]['of_floor']:>7.2f}x",
            flush=True,
        )
    print(json.dumps({"steps": arguments.steps, "floor": floor, "rows": rows}))


def _tflop_per_second() -> float:
    """Of this machine's matrix multiplication in bf16, at its best of five."""
    size = 4096
    one, other = (torch.randn(size, size, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e12


if __name__ == "__main__":
    main()
