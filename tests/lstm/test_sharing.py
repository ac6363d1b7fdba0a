"""Hidden units shared out among threads that meet once a step: one thread's bits, whoever comes, stalls or leaves."""

import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastcell as fc
from fastcell import _jit, _threads
from fastcell.lstm import meeting, sharing
from fastcell.simd.vector import address
from tests.helpers import meetings
from tests.helpers.meetings import bits, normal

LSTM = fc.LSTM(7, 70, seed=0)


@pytest.fixture
def new_pool(monkeypatch):
    """A pool without threads, as in a process that has just begun."""
    monkeypatch.setattr(_threads, "_pool", _threads._Pool())


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 12])
@pytest.mark.parametrize(("pieces", "seats"), [(1, 2), (1, 3), (1, 5), (2, 2)])
def test_the_bits_of_one_thread(rows, pieces, seats):
    state = normal(1, rows, 70), normal(1, rows, 70)
    meetings.check(LSTM, normal(20, rows, 7), state, seats, min(rows, pieces))


@pytest.mark.parametrize("precision", ["float64", "bfloat16", "int8"])
@pytest.mark.parametrize("units", [3, 15, 16, 17, 33, 150])
def test_precisions(precision, units):
    """int8 at 150 units has a second block of inputs; at 3 units there may be a single group, which is not shared."""
    dtype = "float64" if precision == "float64" else "float32"
    lstm = fc.LSTM(5, units, dtype=dtype, precision=precision, seed=0)
    x, seats = normal(11, 3, 5, dtype=dtype), min(3, lstm.packed[0].sizes.groups)
    if seats > 1:
        meetings.check(lstm, x, seats=seats)
    assert bits(lstm(x, threads=5)) == bits(lstm(x, threads=1))


def layers_that_differ():
    rng = np.random.default_rng(0)
    x = normal(17, 4, 7)
    lengths, mask = np.array([0, 17, 3, 9]), rng.random((17, 4)) < 0.6
    few, many = (rng.random((17, 4)) < share for share in (0.1, 0.8))
    yield "lengths", LSTM, x, {"lengths": lengths}
    yield "mask", LSTM, x, {"mask": mask}
    yield "keys", LSTM, x[:, 0], {"keys": rng.integers(0, 3, 17)}
    yield "a few resets", LSTM, x, {"reset": few}
    yield "many resets", LSTM, x, {"reset": many}
    start = rng.uniform(-1, 1, (1, 70)), rng.uniform(-1, 1, (1, 70))
    yield "resets to a state", fc.LSTM(7, 70, seed=0, initial_state=start), x, {"reset": many}
    yield "int8, resets", LSTM.with_precision("int8"), x, {"reset": few}
    yield "backwards", fc.LSTM(7, 70, seed=0, reverse=True), x, {"lengths": lengths}
    yield "layers and directions", fc.LSTM(7, 70, 2, seed=0, bidirectional=True), x, {"mask": mask}
    yield "batch first", LSTM, x.transpose(1, 0, 2), {"batch_first": True, "lengths": np.array([5] * 4)}
    yield "no inputs", fc.LSTM(0, 70, seed=0), normal(17, 2, 0), {}
    yield "peepholes, clip", fc.LSTM(7, 70, 2, seed=0, peepholes=True, clip=0.7), x, {"lengths": lengths}


KINDS = {name: rest for name, *rest in layers_that_differ()}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_calls(name):
    lstm, x, options = KINDS[name]
    meetings.check(lstm, x, seats=3, **options)


@pytest.mark.usefixtures("new_pool")
def test_threads_that_never_come(monkeypatch):
    monkeypatch.setattr(_threads._pool, "room", [])
    x = normal(40, 1, 7)
    with meetings.plan(1, 3, wait=False) as log:
        assert bits(LSTM(x, threads=2)) == bits(LSTM(x, threads=1))
    assert log == [(0, 0)]  # one thread needs no plan


@pytest.mark.parametrize("looks", [0, 3, 1000])
def test_one_that_stalls_is_let_go(looks):
    """It is inside and does nothing: the leader waits once, then goes on alone to the end."""
    x, doors = normal(40, 2, 7), []
    wanted = bits(LSTM(x, threads=1))

    def stall(words):
        doors.append(words[meeting.DOOR // 8 :])
        doors[0][0] = 1

    with meetings.plan(1, 2, looks=looks, guest=stall) as log:
        assert bits(LSTM(x, threads=2)) == wanted
    assert log == [(1, 0)]
    assert doors[0][0] == (1 << 32) + 1  # closed, and nobody has left


def test_stretches_grow_while_all_come():
    @_jit.kernel
    def settle(hall, void):
        meeting.settle(hall, void)

    hall = meeting.open_hall([LSTM.packed[0].sizes], 1, (3, 10), 2, 4, 0)
    at, words, steps = int(address(hall)), meeting.words(hall), []
    for void in (False, False, False, True, False):
        steps.append(int(words[meeting.NEXT // 8]))
        assert words[meeting.DOOR // 8] == 0
        settle(at, void)
        if void:
            words[meeting.DOOR // 8] -= 1 << 32  # closed, and opened again
    assert [*steps, int(words[meeting.NEXT // 8])] == [3, 6, 10, 10, 3, 6]
    assert [words[at // 8] for at in (meeting.VOID, meeting.SHARED)] == [1, 4]


def test_how_long_stretches_are():
    assert sharing.stretches(1, 1 << 20) == (6, 6)  # a share of the weights that a cache keeps
    assert sharing.stretches(1, 1 << 22) == (6, 24)
    assert sharing.stretches(8, 1 << 22) == (3, 3)


def test_the_door_is_opened_again():
    """Members that are let go at the first wait, come again and again: void stretches are done again, others count."""
    x = normal(3000, 2, 7)
    wanted = bits(LSTM(x, threads=1))
    with meetings.plan(1, 3, looks=-(10**9)) as log:
        for _ in range(20):
            assert bits(LSTM(x, threads=2)) == wanted
    assert sum(void for void, _ in log) > 0


def test_impatient_leaders_give_up():
    """Two in vain, and one more for every sixteen that were not."""
    x = normal(3000, 1, 7)
    LSTM(x, threads=1)
    with meetings.plan(1, 2, looks=-(10**9)) as log:
        for _ in range(20):
            LSTM(x, threads=2)
    assert all(void <= 3 + shared // 16 for void, shared in log)


@pytest.mark.usefixtures("new_pool")
def test_32_callers_and_a_pool_of_two(monkeypatch):
    monkeypatch.setattr(_threads._pool, "room", [True, True])
    together, x = threading.Barrier(32, timeout=60), normal(60, 3, 7)
    wanted = bits(LSTM(x, threads=1))

    def call(_):
        together.wait()
        return [bits(LSTM(x, threads=2)) for _ in range(10)]

    with meetings.plan(2, 3, looks=100, wait=False), ThreadPoolExecutor(32) as pool:
        for answers in pool.map(call, range(32), timeout=120):
            assert answers == [wanted] * 10
    assert sum(thread.name == "fastcell" for thread in threading.enumerate()) >= 1


@pytest.mark.usefixtures("new_pool")
@pytest.mark.parametrize("where", ["during", "before"])
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_error_ends_the_meeting_for_all(error, where):
    """Raised by the call, or as soon as the helpers are told."""

    def run(*_):
        raise error

    with meetings.plan(1, 3), pytest.MonkeyPatch.context() as patch:
        if where == "before":
            asked = _threads.invite
            patch.setattr(_threads, "invite", lambda work, count: run(asked(work, count)))
        with pytest.raises(error):
            sharing.lead(LSTM.packed, 1, 3, run)
        stop = time.monotonic() + 20
        while len(_threads._pool.idle) < 2 and time.monotonic() < stop:
            time.sleep(0.001)
        assert len(_threads._pool.idle) == 2


def test_helpers_hold_none_of_the_callers_arrays():
    class Array(np.ndarray):
        pass

    with meetings.plan(1, 2, wait=False):
        for _ in range(100):
            x = normal(5, 1, 7).view(Array)
            y, _ = LSTM(x, threads=2)
            gone = weakref.ref(x), weakref.ref(y)
            del x, y
            assert [part() for part in gone] == [None, None]


@pytest.mark.forks
def test_a_forked_child_meets_threads_of_its_own():
    x = normal(30, 1, 7)
    wanted = bits(LSTM(x, threads=1))
    meetings.check(LSTM, x)
    pid = os.fork()
    if pid == 0:
        try:
            meetings.check(LSTM, x)
            os._exit(0 if bits(LSTM(x, threads=2)) == wanted else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- which plan ------------------------------------------------------------------------------------


def planned(lstm, threads, rows, steps=1000):
    return tuple(sharing.plan(lstm.packed, threads, rows, steps * rows))


@pytest.fixture
def cores(monkeypatch):
    def set_cores(number):
        monkeypatch.setattr(_threads, "cores", lambda: number)
        monkeypatch.setattr(sharing, "luck", sharing._Luck())

    return set_cores


def test_what_is_shared_by_default(cores):
    cores(2)
    large, small = fc.LSTM(256, 256, seed=0), fc.LSTM(64, 64, seed=0)
    assert [planned(large, None, rows) for rows in (1, 3, 7, 8, 64)] == [(1, 2), (1, 2), (1, 2), (2, 1), (2, 1)]
    assert [planned(small, None, rows) for rows in (1, 3, 8)] == [(1, 1), (2, 1), (2, 1)]
    assert planned(large, None, 1, steps=5) == (1, 1)  # over before anybody is there
    cores(1)
    assert [planned(large, None, rows) for rows in (1, 3, 64)] == [(1, 1)] * 3
    cores(64)
    pieces, seats = planned(large, None, 3)
    assert 1 < seats <= large.packed[0].sizes.groups
    assert pieces * seats <= 64


def test_threads_that_are_asked_for():
    lstm = fc.LSTM(5, 17, seed=0)
    groups = lstm.packed[0].sizes.groups
    assert planned(lstm, 1, 3) == (1, 1)
    assert planned(lstm, 2, 1, steps=1) == (1, min(2, groups))
    assert planned(lstm, 2, 3) == (2, 1)
    pieces, seats = planned(lstm, 7, 3)
    assert seats > 1
    assert 3 < 2 * pieces * seats <= 14
    with pytest.raises(ValueError, match=r"^threads must be at least 1, got 0$"):
        planned(lstm, 0, 3)


def test_layers_whose_units_are_not_shared():
    for options in ({"proj_size": 5}, {"bidirectional": True, "activations": ("sigmoid", "tanh", "tanh") * 2}):
        lstm = fc.LSTM(5, 40, seed=0, **options)
        assert planned(lstm, 2, 1)[1] == (1 if "proj_size" in options else 2)
    mixed = fc.LSTM(5, 40, seed=0, bidirectional=True, activations=("sigmoid", "tanh", "tanh", "relu", "tanh", "tanh"))
    assert planned(mixed, 3, 2) == (2, 1)


def test_a_busy_machine_is_left_alone(cores):
    """After meetings in vain there are none for a while, twice as long each time; one that goes well ends that."""
    cores(2)
    lstm, luck = fc.LSTM(256, 256, seed=0), sharing.luck
    for times in range(12):
        luck.learn(1, 5)
        assert luck.rest == min(sharing._REST * 2**times, sharing._RESTS)
    assert planned(lstm, None, 1) == (1, 1)
    assert planned(lstm, 2, 1) == (1, 2)
    luck.until = time.perf_counter()
    assert planned(lstm, None, 1) == (1, 2)
    luck.learn(0, 5)
    assert luck.good()
    luck.learn(0, 0)
    assert not luck.good()
