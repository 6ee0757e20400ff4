"""The model of a cluster: what it must agree with, and what routing must do."""

import math
from dataclasses import replace
from statistics import mean

import pytest
from cluster_model import Costs, Scenario, redis_share, simulate

FREE = Costs()


def erlang_c_wait(workers: int, load: float, job_seconds: float) -> float:
    """The mean wait of queueing theory, for exponential work and nothing else."""
    offered = workers * load
    terms = sum(offered**n / math.factorial(n) for n in range(workers))
    last = offered**workers / math.factorial(workers) / (1 - load)
    return last / (terms + last) * job_seconds / (workers * (1 - load))


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (4, 0.8), (16, 0.9)])
def test_waits_are_those_of_queueing_theory(workers: int, load: float) -> None:
    scenario = Scenario(workers, load, job_seconds=4.0, spread=1, routing="blind")
    found = mean(mean(simulate(scenario, FREE, jobs=20_000, seed=seed).waits) for seed in range(3))
    assert found == pytest.approx(erlang_c_wait(workers, load, 4.0), rel=0.12)


def test_the_same_seed_makes_the_same_outcome() -> None:
    scenario = Scenario(4, 0.7, models=3)
    assert simulate(scenario, FREE, 500, 1) == simulate(scenario, FREE, 500, 1)
    assert simulate(scenario, FREE, 500, 1) != simulate(scenario, FREE, 500, 2)


def test_routing_by_model_saves_most_loads_and_waits() -> None:
    aware = Scenario(8, 0.5, models=6, held=2)
    blind = replace(aware, routing="blind")
    one, other = (simulate(scenario, FREE, 5000, 3) for scenario in (aware, blind))
    assert one.loads < 0.7 * other.loads
    assert one.wait(0.95) < 0.8 * other.wait(0.95)


def test_with_one_model_routing_changes_nothing() -> None:
    aware = Scenario(4, 0.8)
    assert simulate(aware, FREE, 2000, 4) == simulate(replace(aware, routing="blind"), FREE, 2000, 4)


def test_nobody_is_passed_over_for_ever() -> None:
    crowded = Scenario(2, 0.9, models=8, held=1, load_seconds=0.5)
    outcome = simulate(crowded, FREE, 5000, 5)
    assert max(outcome.waits) < 600


def test_redis_is_as_busy_as_its_jobs_and_workers_make_it() -> None:
    scenario = Scenario(100, 0.5, job_seconds=1.0)
    costs = Costs(redis_job=0.008, redis_worker=0.001)
    outcome = simulate(scenario, costs, 3000, 6)
    assert outcome.rate == pytest.approx(50, rel=0.05)
    assert redis_share(scenario, costs) == pytest.approx(50 * 0.008 + 100 * 0.001)
    assert outcome.redis_busy == pytest.approx(redis_share(scenario, costs), rel=0.1)
    assert outcome.wait(0.5) > 0.008


def test_a_job_costs_its_worker_the_turnaround_as_well() -> None:
    scenario = Scenario(1, 0.9, job_seconds=1.0, spread=0)
    slow, quick = (simulate(scenario, Costs(turnaround=seconds), 4000, 7) for seconds in (0.1, 0.0))
    assert slow.wait(0.5) > 2 * quick.wait(0.5)
