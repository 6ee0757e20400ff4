"""How soon is the device free after a cancellation? From the cancel call to the next job's first step.

A long job runs and another waits; the long one is cancelled at a random moment of a step. Both times are read
from the job's own events in this process, in units of the measured time of a step. The last line is JSON.

    python benchmarks/cancelling.py
"""

import argparse
import json
import random
import statistics
import time

from running_server import running_queue
from specs import StepTimes, text_to_image

SEED = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()

    chance, waits, steps = random.Random(SEED), [], []
    spec = text_to_image(arguments.size, steps=100)
    with running_queue("fp32") as queue:
        for _ in range(arguments.rounds):
            running, ran = queue.submit(spec), StepTimes()
            running.listen(ran)
            waiting, waited = queue.submit(spec), StepTimes()
            waiting.listen(waited)
            ran.wait_for(5)
            step = (ran.times[4] - ran.times[1]) / 3
            time.sleep(step * chance.random())
            cancelled = time.perf_counter()
            queue.cancel(running.id, "Not wanted.")
            waited.wait_for(1)
            waits.append(waited.times[0] - cancelled)
            steps.append(step)
            queue.cancel(waiting.id, "Not wanted.")
    step, wait, longest = statistics.median(steps), statistics.median(waits), max(waits)
    print(f"{arguments.size}x{arguments.size}: a step takes {step * 1e3:.0f} ms; the next job's first step is done")
    print(f"{wait * 1e3:.0f} ms after the cancellation (median), {longest * 1e3:.0f} ms at most")
    print(json.dumps({"step_ms": step * 1e3, "steps_median": wait / step, "steps_longest": longest / step}))


if __name__ == "__main__":
    main()
