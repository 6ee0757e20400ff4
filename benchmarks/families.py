"""Every family and operation by every way in which a picture is asked for, and with everything that can go wrong.

A tiny random model of each family is served alone, and by a cluster of a server and a worker. Of each operation that
``/models`` names, the pixels have to be the same by a form, by a task and by a form through Redis; a task's events have
to tell each step and to name previews; the second time, no text encoder may run. Then the job is cancelled, and memory
runs out, in each stage: the status has to be right, and the next picture the same as before.

    PYTHONPATH=.:tests OMP_NUM_THREADS=1 python benchmarks/families.py [--log FILE] [NAME]...

Families that the log has are not run again.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from family_ways import STEPS, Server, by_task, canceller, each_call, served_alone, served_by_cluster
from redis_server import RedisServer
from tiny_families import sd, sdxl
from tiny_pipelines import PIPELINES, write_pipeline

from sd_api.engine import previews
from sd_api.models.families import qwen_image

UNETS: dict[str, Callable[[], Any]] = {
    "stable diffusion": sd,
    "stable diffusion inpainting": lambda: sd(9),
    "instruct-pix2pix": lambda: sd(8),
    "stable diffusion xl": sdxl,
    "stable diffusion xl inpainting": lambda: sdxl(9),
}
WAYS = ("form", "task", "cluster")
CANCELLED, FULL = 409, 503
PAUSE = 0.3
"""Seconds after each step while a task's events are listened to."""


def write(name: str, folder: Path) -> Path:
    """A model in a folder."""
    if name in UNETS:
        UNETS[name]().save_pretrained(folder)
        return folder
    return write_pipeline(name, folder)


def stages(parts: Any, operation: str) -> Iterator[tuple[str, torch.nn.Module]]:
    """What runs one after the other, by the names of the stages."""
    yield "words", parts.text_encoders[-1].module
    if operation != "txt2img":
        yield "image", parts.autoencoder.module.encoder
    yield "step", parts.denoiser.module
    yield "decoding", parts.autoencoder.module.decoder


def full() -> None:
    """Memory that is full."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def faults(server: Server, cluster: Server, operation: str) -> Iterator[str]:
    """What is wrong with one operation of a model."""
    expected = server.draw(operation)
    with each_call(server.parts.text_encoders[-1].module, lambda: None) as calls:
        if server.draw(operation) != expected:
            yield "the second time, the pixels are others"
        if calls:
            yield "the second time, the words are read again"
    # Slower than events are sent, so that none is left out for the next one.
    with each_call(server.parts.denoiser.module, lambda: time.sleep(PAUSE)):
        task = by_task(server, operation)
    if task.drawn != expected:
        yield "by a task, the pixels are others"
    reported = [step for step, _ in task.steps]
    numbers = {steps for _, steps in task.steps}
    if reported != sorted(reported) or len(numbers) != 1 or not set(reported) >= set(range(1, *numbers)):
        yield f"the events of {STEPS} steps are {task.steps}"
    if not task.previews:
        yield "there is no preview"
    if cluster.draw(operation) != expected:
        yield "through the cluster, the pixels are others"
    for stage, module in stages(server.parts, operation):
        for ends in (CANCELLED, FULL):
            name, cancel = canceller(server)
            # Nothing that is kept spares a stage.
            server.parts._cached.clear()
            with each_call(module, cancel if ends == CANCELLED else full) as calls:
                status = server.send(operation, job_id=name).status_code
            if not calls:
                yield f"{stage}: it does not run"
            elif status != ends:
                yield f"{stage}: {status} in place of {ends}"
            if server.draw(operation) != expected:
                yield f"{stage}: after a {ends}, the pixels are others"


def measure(name: str, redis: RedisServer) -> dict[str, Any]:
    """A line of the table: each operation of a family with what is wrong with it."""
    started = time.process_time()
    with TemporaryDirectory() as folder:
        model = write(name, Path(folder))
        with served_alone(model) as server, served_by_cluster(model, redis) as cluster:
            found = {operation: list(faults(server, cluster, operation)) for operation in server.operations()}
    return {"family": name, "operations": found, "seconds": round(time.process_time() - started, 1)}


@click.command()
@click.option("--log", type=click.Path(path_type=Path), help="A file to which each family's line is added.")
@click.argument("names", nargs=-1)
def main(log: Path | None, names: tuple[str, ...]) -> None:
    """Print the table; the status is 1 if there is a fault."""
    # Each step is shown, and nothing is seen at the size of published models, for which a processor has no time.
    previews.INTERVAL = 0.0
    for name in ("CONDITION_IMAGE_SIZE", "VAE_IMAGE_SIZE"):
        setattr(qwen_image, name, 96 * 96)
    PREFERRED_KONTEXT_RESOLUTIONS[:] = [(64, 112), (96, 64)]
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []
    done = {line["family"] for line in lines}
    with TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        try:
            for name in names or (*UNETS, *PIPELINES):
                if name in done:
                    continue
                lines.append(measure(name, redis))
                print(json.dumps(lines[-1]), flush=True)
                if log:
                    with log.open("a") as file:
                        file.write(json.dumps(lines[-1]) + "\n")
        finally:
            redis.stop()
    pairs = sum(len(line["operations"]) for line in lines)
    wrong = sum(len(found) for line in lines for found in line["operations"].values())
    print(f"{len(lines)} families, {pairs} operations by {len(WAYS)} ways: {wrong} faults")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
