"""The attacks of ``benchmarks/attack.py``, shorter: what one client sends does not stop the others.

How fast the others are answered is measured by the benchmark; here other programs keep the machine busy.
"""

import resource
from collections.abc import Iterator

import attack
import attack_bodies
import attack_connections
import attack_malformed
import attack_pictures
import attack_stores
import pytest
from attacked_server import Row, Target, attacked
from forked_python import ForkedPython

SIZE = 10
MB = 1 << 20


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with attacked(popen=ForkedPython) as target:
        yield target


def accept(row: Row) -> None:
    """Within the limits, but for the time, of which a busy machine takes more."""
    assert row.right, row
    assert row.notice.memory < row.memory, row
    assert row.notice.seconds < 10 * row.seconds, row
    assert row.notice.p99 < 2000, row


@pytest.mark.parametrize("body", attack_bodies.BODIES, ids=lambda body: body.name)
def test_a_costly_body_is_refused_at_the_cost_of_its_size(target: Target, body: attack_bodies.Body) -> None:
    accept(attack_bodies.send_body(target, body, SIZE))


def test_a_costly_prompt_is_read_at_the_cost_of_its_size(target: Target) -> None:
    for row in [*attack_bodies.read_prompts(target), *attack_bodies.draw_prompts(target)]:
        accept(row)


def test_a_small_picture_costs_what_its_pixels_cost(target: Target) -> None:
    for row in attack_pictures.send_pictures(target, [one for one in attack_pictures.PICTURES if one.status != 200]):
        accept(row)
    accept(attack_pictures.read_texts(target))


def test_many_large_bodies_take_bounded_memory_and_are_answered(target: Target) -> None:
    accept(attack_bodies.send_many(target, 8, 60, held=False))


def test_malformed_requests_are_no_fault_of_the_server(target: Target) -> None:
    accept(attack_malformed.send_malformed(target, 300))


def test_half_open_connections_disturb_nobody(target: Target) -> None:
    row, _ = attack.open_halves(target, 200, patience=0, seconds=1)
    accept(row)


def test_more_connections_than_descriptors_disturb_nobody() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 400:
        pytest.skip("this process may not open enough connections itself")
    accept(attack.open_silent(300, ready=False, popen=ForkedPython))


def test_a_log_that_nobody_reads_stops_nobody() -> None:
    row = attack_connections.fill_pipe(300, ready=False, popen=ForkedPython)
    # Not its memory: the model is being loaded meanwhile.
    assert row.right, row
    assert row.notice.seconds < 10 * row.seconds, row


def test_a_full_disk_refuses_uploads_and_takes_deletions() -> None:
    row = attack_stores.fill_disk(16, ready=False, popen=ForkedPython)
    if row is None:
        pytest.skip("this user may not mount a disk")
    # Not its memory: the model is being loaded meanwhile.
    assert row.right, row
    assert row.notice.seconds < 10 * row.seconds, row
