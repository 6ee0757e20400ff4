"""The ways to run one model that are compared: the original's, diffusers' by hand, this server's, OpenVINO's.

Each is measured in a process of its own, so that what one leaves in memory neither helps nor harms the next. As a
command, this measures one here and prints its figures as JSON.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from sd15 import model_directory
from specs import GUIDANCE, PROMPT, make, text_to_image

from sd_api.jobs.job import Job
from sd_api.models.device import DTYPES
from sd_api.settings import Settings
from sd_api.wiring import build_engine

SIZE = 512

# A whole job, and one step, in seconds.
Times = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        name: of the row.
        runner: ``diffusers``, ``server`` or ``openvino``.
        dtype: ``auto`` is what the server chooses.
        channels_last: the memory format, where it is set by hand.
        compiled: whether the model is compiled first.
    """

    name: str
    runner: str
    dtype: str
    channels_last: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        prepare: loading and compiling, in seconds.
        job: the fastest whole job, in seconds.
        step: one step of all pictures in it, in seconds.
        peak_gb: the most memory: of the process, or of the card where there is one.
    """

    prepare: float
    job: float
    step: float
    peak_gb: float


def measure_apart(case: Case, device: str, pictures: int, steps: int, rounds: int) -> Figures:
    """Measure in a process of its own."""
    arguments = json.dumps([asdict(case), device, pictures, steps, rounds])
    # Only warnings for programmers: diffusers' own rows shall be as every user has them, but quiet.
    quiet = os.environ | {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, __file__, arguments], stdout=subprocess.PIPE, check=True, text=True, env=quiet
    )
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def measure(case: Case, device: str, pictures: int, steps: int, rounds: int) -> Figures:
    """Measure here."""
    started = time.perf_counter()
    run = {"diffusers": _by_hand, "server": _by_server, "openvino": _by_openvino}[case.runner](case, device)
    # What is done on the first call belongs to loading.
    run(pictures, 2)
    prepare = time.perf_counter() - started
    job, step = min(run(pictures, steps) for _ in range(rounds))
    return Figures(prepare, job, step, _peak_bytes(device) / 1e9)


def _by_hand(case: Case, device: str) -> Callable[[int, int], Times]:
    pipeline = StableDiffusionPipeline.from_pretrained(model_directory(), dtype=DTYPES[case.dtype]).to(device)
    if case.channels_last:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if case.compiled:
        pipeline.unet.compile(fullgraph=True)
    return _runner_of(pipeline)


def _by_openvino(_case: Case, _device: str) -> Callable[[int, int], Times]:
    """Its UNet in place of torch's; the rest as by hand in bf16."""
    # Not installed with this project, so type checkers know nothing of it.
    openvino = importlib.import_module("openvino")
    pipeline = StableDiffusionPipeline.from_pretrained(model_directory())
    example = {
        "sample": torch.randn(2, 4, SIZE // 8, SIZE // 8),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(2, 77, 768),
    }
    converted = openvino.convert_model(pipeline.unet, example_input=example)
    compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    del converted
    pipeline.to(torch.bfloat16)
    pipeline.vae.to(memory_format=torch.channels_last)

    def forward(sample: Any, timestep: Any, encoder_hidden_states: Any, **_: Any) -> Any:
        # numpy knows no bf16.
        numbers = (sample.float().numpy(), timestep.numpy(), encoder_hidden_states.float().numpy())
        return (torch.from_numpy(compiled(numbers)[0]).to(sample.dtype),)

    pipeline.unet.forward = forward
    return _runner_of(pipeline)


def _runner_of(pipeline: Any) -> Callable[[int, int], Times]:
    pipeline.set_progress_bar_config(disable=True)

    def run(pictures: int, steps: int) -> Times:
        times: list[float] = []

        def note(*_: Any) -> dict[str, Any]:
            times.append(_now())
            return {}

        started = _now()
        pipeline(
            PROMPT,
            num_images_per_prompt=pictures,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            width=SIZE,
            height=SIZE,
            callback_on_step_end=note,
        )
        return _now() - started, _per_step(times)

    return run


def _by_server(case: Case, device: str) -> Callable[[int, int], Times]:
    settings = Settings.model_validate(
        {
            "model": str(model_directory()),
            "device": device,
            "dtype": case.dtype,
            "compile": case.compiled,
            "requires_safety_checker": False,
        }
    )
    engine = build_engine(settings)
    engine.load()
    for thread in threading.enumerate():
        # Otherwise done while other jobs run.
        if thread.name in ("compiling", "converting"):
            thread.join()

    def run(pictures: int, steps: int) -> Times:
        times: list[float] = []
        job = Job(text_to_image(SIZE, steps, seeds=range(pictures)))

        def note(job: Job) -> None:
            if (progress := job.status().progress) and progress.step and not job.ended:
                times.append(_now())

        job.listen(note)
        started = _now()
        make(engine, job)
        return _now() - started, _per_step(times)

    return run


def _per_step(times: list[float]) -> float:
    return (times[-1] - times[0]) / max(1, len(times) - 1)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_bytes(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure one, given as JSON by ``measure_apart``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arguments", type=json.loads)
    case, *numbers = parser.parse_args().arguments
    print(json.dumps(asdict(measure(Case(**case), *numbers))))


if __name__ == "__main__":
    main()
