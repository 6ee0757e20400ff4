"""How soon is the device free after a cancellation? From the cancel call to the next job's first step.

A long job runs and another waits; the long one is cancelled at a random moment of a step. Both times are read
from the job's own events in this process, in units of the measured time of a step. The last line is JSON.

    python benchmarks/cancelling.py
"""

import argparse
import json
import random
import statistics
import threading
import time

from running_server import running_queue
from specs import text_to_image

from sd_api.jobs.job import Job

SEED = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()

    chance, waits, steps = random.Random(SEED), [], []
    with running_queue("fp32") as queue:
        for _ in range(arguments.rounds):
            running, waiting = Watched(arguments.size), Watched(arguments.size)
            for watched in (running, waiting):
                watched.job = queue.submit(watched.spec)
                watched.job.listen(watched)
            running.wait_for_steps(5)
            step = (running.times[4] - running.times[1]) / 3
            time.sleep(step * chance.random())
            cancelled = time.perf_counter()
            queue.cancel(running.job.id, "Not wanted.")
            waiting.wait_for_steps(1)
            waits.append(waiting.times[0] - cancelled)
            steps.append(step)
            queue.cancel(waiting.job.id, "Not wanted.")
    step, wait, longest = statistics.median(steps), statistics.median(waits), max(waits)
    print(f"{arguments.size}x{arguments.size}: a step takes {step * 1e3:.0f} ms; the next job's first step is done")
    print(f"{wait * 1e3:.0f} ms after the cancellation (median), {longest * 1e3:.0f} ms at most")
    print(json.dumps({"step_ms": step * 1e3, "steps_median": wait / step, "steps_longest": longest / step}))


class Watched:
    """A job and the times at which its steps were done."""

    job: Job

    def __init__(self, size: int) -> None:
        self.spec = text_to_image(size, steps=100)
        self.times: list[float] = []
        self._changed = threading.Condition()

    def __call__(self, job: Job) -> None:
        """Note the time of a step."""
        progress = job.status().progress
        if progress is not None and progress.step > len(self.times):
            with self._changed:
                self.times.append(time.perf_counter())
                self._changed.notify()

    def wait_for_steps(self, count: int) -> None:
        """Return once that many are done."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.times) >= count, timeout=60)


if __name__ == "__main__":
    main()
