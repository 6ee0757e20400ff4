"""How long do jobs wait in a cluster, and what limits it? A simulation with the costs that were measured.

    python benchmarks/throughput.py --out costs.json
    python benchmarks/scaling.py --costs costs.json

Assumptions: jobs come at random (Poisson), each from a client of its own; their work is lognormal, half its mean wide;
the n-th model is asked for 1/n as often as the first; a worker keeps some models loaded and drops the least recently
used; nothing fails; Redis does one thing at a time. The last line is JSON.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cluster_model import Costs, Outcome, Scenario, redis_share, simulate

MEASURED = Path(__file__).parent / "log" / "throughput.json"

LOADS = (0.5, 0.7, 0.8, 0.9, 0.95)
SIZES = (1, 2, 5, 20, 100)
# So many models, of which each worker holds two; and a worker's seconds to load one.
MODELS = 8
SEED = 11
# Beyond this share of its time there is nothing to be learned but that waits grow.
MOST_OF_REDIS = 0.97


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=MEASURED, help="what throughput.py has measured")
    parser.add_argument("--jobs", type=int, default=20_000, help="of each scenario")
    parser.add_argument("--job-seconds", type=float, default=4.0)
    parser.add_argument("--load-seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    costs = Costs(**json.loads(arguments.costs.read_text(encoding="utf-8"))["costs"])
    usual = Scenario(1, 0, job_seconds=arguments.job_seconds, load_seconds=arguments.load_seconds)
    print(f"Costs in milliseconds: {', '.join(f'{name} {cost * 1e3:.3f}' for name, cost in asdict(costs).items())}\n")
    tables = {
        "waits": _waits(usual, costs, arguments.jobs),
        "routing": _routing(usual, costs, arguments.jobs),
        "many": _many(usual, costs, arguments.jobs),
    }
    print(json.dumps({"costs": asdict(costs), **tables}))


def _waits(usual: Scenario, costs: Costs, jobs: int) -> list[dict[str, Any]]:
    """One model: workers against load."""
    print(f"Wait in seconds, median / 95 % of jobs; jobs of {usual.job_seconds:g} s, one model")
    print("workers  " + "  ".join(f"{f'{load:.0%} busy':>14}" for load in LOADS))
    rows = []
    for workers in SIZES:
        cells = []
        for load in LOADS:
            outcome = simulate(replace(usual, workers=workers, load=load), costs, jobs, SEED)
            rows.append(_row(outcome, workers=workers, load=load))
            cells.append(f"{outcome.wait(0.5):>6.1f} /{outcome.wait(0.95):>6.1f}")
        print(f"{workers:>7}  " + "  ".join(cells), flush=True)
    print()
    return rows


def _routing(usual: Scenario, costs: Costs, jobs: int) -> list[dict[str, Any]]:
    """Several models: what looking at them is worth."""
    print(f"{MODELS} models of which a worker holds {usual.held}, {usual.load_seconds:g} s to load one")
    print(f"{'workers':>7}  {'busy':>5}  {'routing':>7}  {'loads':>6}  {'median':>8}  {'95 %':>8}")
    rows = []
    for workers in (5, 20):
        for load in (0.3, 0.5, 0.7):
            for routing in ("blind", "aware"):
                scenario = replace(usual, workers=workers, load=load, models=MODELS, routing=routing)
                outcome = simulate(scenario, costs, jobs, SEED)
                rows.append(_row(outcome, workers=workers, load=load, routing=routing))
                print(
                    f"{workers:>7}  {load:>5.0%}  {routing:>7}  {outcome.loads:>6.1%}"
                    f"  {outcome.wait(0.5):>6.1f} s  {outcome.wait(0.95):>6.1f} s",
                    flush=True,
                )
    print("Busy counts the jobs' own work, not loading; where the two together are too much, waits grow for ever.\n")
    return rows


def _many(usual: Scenario, costs: Costs, jobs: int) -> list[dict[str, Any]]:
    """A thousand workers: what is left of Redis."""
    print("Many workers, 80 % busy, one model")
    print(f"{'workers':>7}  {'job':>6}  {'jobs/s':>7}  {'Redis busy':>10}  {'median':>9}  {'95 %':>9}")
    rows = []
    for workers in (100, 300, 1000):
        for seconds in (1.0, 4.0, 15.0):
            scenario = replace(usual, workers=workers, load=0.8, job_seconds=seconds)
            share = redis_share(scenario, costs)
            if share > MOST_OF_REDIS:
                rows.append({"workers": workers, "job_seconds": seconds, "redis_wanted": round(share, 2)})
                print(f"{workers:>7}  {seconds:>4.0f} s  {'':>7}  {share:>10.0%}  more than one Redis has", flush=True)
                continue
            outcome = simulate(scenario, costs, max(jobs, 10 * workers), SEED)
            rows.append(_row(outcome, workers=workers, job_seconds=seconds))
            print(
                f"{workers:>7}  {seconds:>4.0f} s  {outcome.rate:>7.1f}  {outcome.redis_busy:>10.1%}"
                f"  {outcome.wait(0.5) * 1e3:>6.0f} ms  {outcome.wait(0.95) * 1e3:>6.0f} ms",
                flush=True,
            )
    print()
    return rows


def _row(outcome: Outcome, **about: object) -> dict[str, Any]:
    return {
        **about,
        "median": round(outcome.wait(0.5), 4),
        "p95": round(outcome.wait(0.95), 4),
        "loads": round(outcome.loads, 4),
        "redis_busy": round(outcome.redis_busy, 4),
        "rate": round(outcome.rate, 2),
    }


if __name__ == "__main__":
    main()
