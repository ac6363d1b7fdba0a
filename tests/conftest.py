import compileall
import os
import tracemalloc
from types import SimpleNamespace

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when Keras is imported; its own choice is TensorFlow

import pytest
from hypothesis import settings

from fastcell.scan import small_calls
from tests.helpers import draws, platforms, processes

FLAX = {"linen": "flax.linen", "nnx": "flax.nnx", "jax": "jax"}

settings.register_profile("default", deadline=None, max_examples=60, derandomize="CI" in os.environ)
settings.load_profile("default")


@pytest.fixture(scope="module")
def large_calls():
    """Small calls go to the kernels for large arrays too, as those of millions of steps do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_calls, "SMALL", 0)
        yield


def pytest_collection_modifyitems(config, items):
    for item in items:
        platforms.mark(item)
    left_out = draws.left_out([item for item in items if item.get_closest_marker("slow")])
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionstart(session):
    """At the start, as a run that is killed has no end."""
    if not hasattr(session.config, "workerinput"):  # once, for the many processes that tests start
        compileall.compile_dir(processes.PACKAGE, quiet=2)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if draws.LONG and reporter is not None:
        reporter.write_line(f"FASTCELL_SEED={draws.SEED} repeats this run's draws")


@pytest.fixture
def limited():
    """Under a limit on memory: a gigabyte and a half more than there is."""
    with processes.limited(3 << 29):
        yield


@pytest.fixture
def nothing_large():
    """What Python and NumPy allocate stays small, lazily mapped memory too; `limited` holds the rest."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**29, f"{peak / 2**20:.0f} MiB"


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip("torch", reason="torch is what the weights are compared with")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="session")
def keras():
    return pytest.importorskip("keras", reason="Keras is what the weights are compared with")


@pytest.fixture(scope="session")
def flax():
    """linen, nnx and jax."""
    reason = "Flax is what the weights are compared with"
    pytest.importorskip("flax", reason=reason)
    return SimpleNamespace(**{name: pytest.importorskip(at, reason=reason) for name, at in FLAX.items()})


@pytest.fixture(scope="session")
def session():
    """A function that runs a model in onnxruntime on one thread."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is what the weights are compared with")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3

    def run(model, **inputs):
        s = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return s.run(None, inputs)

    return run
