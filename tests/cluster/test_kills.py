"""The short form of benchmarks/cluster_kills.py: nothing acknowledged is lost, whatever is killed."""

from pathlib import Path

from cluster_kills import Trial
from cluster_processes import ClusterProcesses
from forked_python import ForkedPython


def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    kinds = iter(["worker", "server", "redis", "worker"])

    def kill(trial: Trial) -> bool:
        if (kind := next(kinds, None)) is not None:
            trial.kill(kind)
        return kind is not None

    with ClusterProcesses(tmp_path, ForkedPython, cluster={"worker_timeout": 3}) as cluster:
        result = Trial(cluster, servers=2, workers=2).run(24, 0.5, kill)
    assert result["kills"] == {"worker": 2, "server": 1, "redis": 1}
    assert (result["acknowledged"], result["finished"]) == (24, 24)
    assert (result["lost"], result["doubled"], result["wrong_pictures"]) == (0, 0, 0)
