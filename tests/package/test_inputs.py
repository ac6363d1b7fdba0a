"""What may stand where an array is expected: anything that holds numbers in the CPU's memory, read in place."""

import array
import re
import tracemalloc

import numpy as np
import pytest

import fastcell as fc
from fastcell import _checks

N = 200


class Exports:
    """An object with some of an array's protocols and nothing else."""

    def __init__(self, x, *protocols):
        self.x, self.protocols = x, protocols

    def __getattr__(self, name):
        if name in self.__dict__.get("protocols", ()):
            return getattr(self.x, name)
        raise AttributeError(name)


class ByArray:
    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x


class ByDLPack:
    """With methods, as NumPy 2.0 looks them up in the class."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


def from_torch(x):
    return pytest.importorskip("torch").from_numpy(x)


def that_requires_grad(x):
    return from_torch(x).requires_grad_()


def memory_mapped(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def from_polars(x):
    return pytest.importorskip("polars").Series(x)


def from_xarray(x):
    return pytest.importorskip("xarray").DataArray(x, dims=["time"])


KINDS = {
    "__array__": ByArray,
    "__array_interface__": lambda x: Exports(x, "__array_interface__"),
    "__dlpack__": ByDLPack,
    "buffer": memoryview,
    "array.array": lambda x: array.array("d", x.tolist()),
    "torch": from_torch,
    "torch that requires grad": that_requires_grad,
    "pandas": lambda x: pytest.importorskip("pandas").Series(x, copy=False),
    "polars": from_polars,
    "pyarrow": lambda x: pytest.importorskip("pyarrow").array(x),
    "xarray": from_xarray,
    "subclass": lambda x: x.view(np.recarray),
}


def problem():
    rng = np.random.default_rng(0)
    return rng.standard_normal(N), rng.integers(-1, 2, N).astype(np.float64), rng.integers(0, 2, N).astype(np.float64)


@pytest.mark.parametrize("name", KINDS)
def test_every_protocol_is_read_in_place(name):
    arrays = problem()
    expected = fc.toy_scan(*arrays, state=0.5)
    given = [KINDS[name](x) for x in arrays]
    y, state = fc.toy_scan(*given, state=np.float64(0.5))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, expected.y)
    assert state == expected.state
    f, i, o = (np.abs(x) for x in arrays)
    gates = [KINDS[name](x) for x in (f, i, o)]
    np.testing.assert_array_equal(fc.gated_scan(given[0], *gates).y, fc.gated_scan(arrays[0], f, i, o).y)
    if name != "array.array":
        for x, kind in zip(arrays, given, strict=True):
            assert np.shares_memory(_checks.array("x", kind), x)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("array.array", "pandas", "polars", "pyarrow")])
def test_an_lstm_reads_them_too(name):
    lstm = fc.LSTM(1, 3, seed=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 1)).astype(np.float32)
    h, c = rng.standard_normal((2, 1, 3)).astype(np.float32)
    make = KINDS[name]
    if name == "xarray":
        xarray = pytest.importorskip("xarray")
        make = lambda x: xarray.DataArray(x)  # noqa: E731
    y, (h_n, c_n) = lstm(make(x), (make(h), make(c)))
    expected, (h_e, c_e) = lstm(x, (h, c))
    for actual, right in ((y, expected), (h_n, h_e), (c_n, c_e)):
        assert type(actual) is np.ndarray
        np.testing.assert_array_equal(actual, right)
    assert np.shares_memory(_checks.array("x", make(x), _checks.NUMBERS), x)


def test_memory_mapped_files(tmp_path):
    x, control, emit = problem()
    mapped = memory_mapped(x, tmp_path)
    np.testing.assert_array_equal(fc.toy_scan(mapped, control, emit).y, fc.toy_scan(x, control, emit).y)
    assert np.shares_memory(_checks.array("x", mapped), mapped)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, (N,))
    assert fc.toy_scan(mapped, control, emit, out=out).y is out
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fc.toy_scan(x, control, emit).y)
    with pytest.raises(ValueError, match="out must not overlap an input, got memory shared with x1"):
        fc.toy_scan(out, control, emit, out=out)


def test_out_that_a_tensor_holds(torch):
    x, control, emit = problem()
    tensor = torch.from_numpy(x).requires_grad_()
    with pytest.raises(ValueError, match="out must not overlap an input, got memory shared with x1"):
        fc.toy_scan(tensor, control, emit, out=x)


def test_a_reset_of_torch(torch):
    lstm = fc.LSTM(2, 3, seed=0)
    x = np.ones((5, 4, 2), np.float32)
    reset = np.random.default_rng(2).integers(0, 2, (5, 4)).astype(bool)
    np.testing.assert_array_equal(lstm(x, reset=torch.from_numpy(reset))[0], lstm(x, reset=reset)[0])
    np.testing.assert_array_equal(lstm(x, lengths=torch.tensor([5, 0, 3, 1]))[0], lstm(x, lengths=[5, 0, 3, 1])[0])


# ---- xarray ------------------------------------------------------------------------------------------


def test_xarray_through_apply_ufunc():
    xarray = pytest.importorskip("xarray")
    rng = np.random.default_rng(3)
    rain = xarray.DataArray(
        rng.standard_normal((3, N)), dims=["town", "time"], coords={"town": ["A", "B", "C"]}, name="mm"
    )
    control = xarray.DataArray(rng.integers(-1, 2, (3, N)), dims=["town", "time"])
    emit = xarray.ones_like(control)

    def scan(*columns):  # core dimensions come last, a scan's time is first
        y, state = fc.toy_scan(*(np.moveaxis(column, -1, 0) for column in columns))
        return np.moveaxis(y, 0, -1), state

    core = [["time"]]
    y, state = xarray.apply_ufunc(scan, rain, control, emit, input_core_dims=core * 3, output_core_dims=[["time"], []])
    assert y.dims == ("town", "time")
    assert state.dims == ("town",)
    assert list(y["town"]) == list(state["town"]) == ["A", "B", "C"]
    for k in range(3):
        expected = fc.toy_scan(rain.values[k], control.values[k], emit.values[k])
        np.testing.assert_array_equal(y.values[k], fc.toy_scan(rain.values.T, control.values.T, emit.values.T).y[:, k])
        np.testing.assert_allclose(y.values[k], expected.y, rtol=0, atol=1e-12)  # one column is added up in segments


def test_xarray_in_chunks():
    """Of towns through xarray's own, of time, which it refuses, through fastcell's."""
    xarray, da = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    rng = np.random.default_rng(4)
    x1, x2, x3 = rng.integers(-9, 9, (N, 3)).astype(float), rng.integers(-1, 3, (N, 3)), rng.integers(0, 2, (N, 3))
    wanted, arrays = fc.toy_scan(x1, x2, x3), [xarray.DataArray(x, dims=["time", "town"]) for x in (x1, x2, x3)]
    core = {"input_core_dims": [["time"]] * 3, "output_core_dims": [["time"], []]}

    def through(scan, numpy, **chunks):
        def last(*columns):  # core dimensions come last, a scan's time is first
            y, state = scan(*(numpy.moveaxis(column, -1, 0) for column in columns))
            return numpy.moveaxis(y, 0, -1), state

        dask = {"dask": "parallelized", "output_dtypes": [float, float]} if numpy is np else {"dask": "allowed"}
        return xarray.apply_ufunc(last, *(array.chunk(**chunks) for array in arrays), **core, **dask)

    for scan, numpy, chunks in ((fc.toy_scan, np, {"town": 1}), (fc.dask.toy_scan, da, {"time": 7, "town": 2})):
        y, state = through(scan, numpy, **chunks)
        assert y.chunks == y.transpose("town", "time").chunks == tuple(reversed(arrays[0].chunk(**chunks).chunks))
        np.testing.assert_array_equal(y.values.T, wanted.y)
        np.testing.assert_array_equal(state.values, wanted.state)
    with pytest.raises(ValueError, match="consists of multiple chunks, but is also a core dimension"):
        through(fc.toy_scan, np, time=7)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (0, 2, 1)], ids=str)
def test_rules_spread_over_a_cube_are_not_copied(axes):
    """Of time alone, of places alone, and one number: a peak of y itself."""
    shape, rng = (1800, 20, 30), np.random.default_rng(5)
    order = [shape[axis] for axis in axes]
    cube = rng.integers(-9, 9, order).astype(np.float32).transpose(np.argsort(axes))  # time first, wherever it lies
    of_time, of_places = rng.integers(-1, 3, shape[0]).astype(np.int8), rng.integers(0, 2, shape[1:]).astype(np.int8)
    rules = np.broadcast_to(of_time[:, None, None], shape), np.broadcast_to(of_places, shape)
    for x2, x3 in (rules, (rules[0], 1), (1, rules[1])):
        full = (np.broadcast_to(x, shape).astype(np.int8) for x in (x2, x3))
        wanted = fc.toy_scan(cube, *full)
        fc.toy_scan(cube, x2, x3)  # compiled
        tracemalloc.start()
        y, state = fc.toy_scan(cube, x2, x3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(y, wanted.y)
        np.testing.assert_array_equal(state, wanted.state)
        assert peak < y.nbytes + 0.7 * y.size, "bytes; a copy of the rules is one a step"


# ---- refusals ----------------------------------------------------------------------------------------


class OnDevice:
    dtype = "float32"

    def __init__(self, kind):
        self.kind = kind

    def __dlpack_device__(self):
        return (self.kind, 0)

    def __dlpack__(self, **_):
        raise AssertionError("nothing may be exported")

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("nothing may be copied")


def scan_refuses(given, error, message):
    ones = np.ones(3)
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        fc.toy_scan(given, ones, ones)


def refuses(given, error, message, name="x1"):
    scan_refuses(given, error, message)
    lstm = fc.LSTM(1, 1, seed=0)
    with pytest.raises(error, match=r"^x must"):
        lstm(given)


def test_what_another_device_holds():
    message = "x1 must hold bool, integers, float32 or float64 in the CPU's memory, got OnDevice of float32"
    refuses(OnDevice(2), TypeError, f"{message} (DLPack device type 2)")


def test_tensors_that_numpy_can_not_read(torch):
    expected = "x1 must hold bool, integers, float32 or float64 in the CPU's memory, got Tensor of torch."
    scan_refuses(torch.ones(3, dtype=torch.bfloat16), TypeError, f"{expected}bfloat16")  # the LSTM widens it
    refuses(torch.ones(3, device="meta"), TypeError, f"{expected}float32")
    refuses(torch.eye(3).to_sparse(), TypeError, f"{expected}float32")

    class Bare:
        def __init__(self, x):
            self.__dlpack__, self.__dlpack_device__, self.dtype = x.__dlpack__, x.__dlpack_device__, x.dtype

    refuses(Bare(torch.ones(3, dtype=torch.bfloat16)), TypeError, expected.replace("Tensor", "Bare") + "bfloat16")


def test_objects_complex_numbers_and_masks():
    refuses(object(), TypeError, "x1 must hold bool, integers, float32 or float64, got object")
    refuses(np.ones(3, complex), TypeError, "x1 must hold bool, integers, float32 or float64, got complex128")
    refuses(np.ma.array(np.ones(3), mask=[0, 1, 1]), ValueError, "x1 must have no masked elements, got 2")
    refuses([[1.0], [1.0, 2.0]], ValueError, "x1 must be an array or nested sequences of one shape: ")
    ones = np.ones(3)
    assert fc.toy_scan(np.ma.array(ones), ones, ones).y.tolist() == [1, 2, 3]


def test_bfloat16_of_jax():
    dtypes = pytest.importorskip("ml_dtypes")
    scan_refuses(
        np.ones(3, dtypes.bfloat16), TypeError, "x1 must hold bool, integers, float32 or float64, got bfloat16"
    )
