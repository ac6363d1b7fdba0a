"""The one place for what arguments must be, and for the words that say so: name, expectation, what came."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcell import _memory, _nulls

Array = NDArray[Any]

VALUES = "bool, integers, float32 or float64"
NUMBERS = "real numbers"
_KINDS = {VALUES: "biuf", NUMBERS: "biuf", "integers": "iu"}


_IN_REACH = (1, 3, 11, 13)  # DLPack's devices whose memory a CPU reads: its own, pinned, managed


def view(name: str, given: Any, expected: str = VALUES) -> Array:
    """`given` as an array that shares its memory if it has any: through NumPy's protocols, a buffer, or DLPack."""
    _nulls.refuse(name, given)
    if getattr(given, "requires_grad", False) is True:
        given = given.detach()  # a scan is no part of a graph of gradients
    try:
        if isinstance(given, range):  # NumPy makes a list of it first, five times as large
            _memory.check(8 * len(given), "{} of {}", name, given)
            return np.fromiter(given, np.int64, len(given))
        if hasattr(given, "__dlpack_device__"):
            device = given.__dlpack_device__()[0]
            if device not in _IN_REACH:
                raise BufferError(f"DLPack device type {int(device)}")
            if expected == NUMBERS and str(getattr(given, "dtype", "")) == "torch.bfloat16":
                given = given.float()  # NumPy has no bfloat16; float32 holds its values
            if not (hasattr(given, "__array__") or hasattr(given, "__array_interface__")):
                return np.from_dlpack(given)
        return np.asarray(given)
    except MemoryError:
        raise
    except Exception as error:  # an object's own __array__ may raise anything
        if isinstance(given, list | tuple):
            wrong = TypeError if isinstance(error, TypeError) else ValueError
            raise wrong(f"{name} must be an array or nested sequences of one shape: {error}") from None
        kind = f"{type(given).__name__} of {getattr(given, 'dtype', 'unknown dtype')}"
        raise TypeError(f"{name} must hold {expected} in the CPU's memory, got {kind} ({error})") from None


def array(name: str, given: Any, expected: str = VALUES) -> Array:
    """`given` as an array of a dtype that the kernels read: native, aligned, copied only where it must be."""
    x = given if type(given) is np.ndarray else view(name, given, expected)
    if not x.size and isinstance(given, list | tuple):
        x = x.astype(np.int64 if expected == "integers" else x.dtype)  # NumPy takes an empty list for floats
    if x.dtype.kind not in _KINDS[expected] or (expected == VALUES and x.dtype.char in "eg"):
        if expected == NUMBERS and x.dtype.name == "bfloat16":  # ml_dtypes', which JAX's arrays have
            return x.astype(np.float32)
        raise TypeError(f"{name} must hold {expected}, got {x.dtype}")
    if not x.dtype.isnative:
        x = converted(x, x.dtype.newbyteorder("="))
    elif not x.flags.aligned:
        x = converted(x, x.dtype)
    return x.view(np.int8) if x.dtype.kind == "b" else x


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """The first multiple of b that is not below a."""
    return ceil_div(a, b) * b


def once(x: Array) -> Array:
    """The same values without the repeats of a broadcast axis, of which there may be more than one can look at."""
    return x[tuple(slice(None) if step else slice(1) for step in x.strides)] if 0 in x.strides else x


def converted(x: Array, dtype: Any) -> Array:
    """A copy of another dtype, whose broadcast axes stay such: they may claim more than any memory holds."""
    few = once(x)
    return few.astype(dtype) if few is x else np.broadcast_to(few.astype(dtype), x.shape)


def whole(name: str, given: Any, expected: str) -> int:
    """An integer of any kind, a bool excepted."""
    try:
        if isinstance(given, bool | np.bool):
            raise TypeError
        number: int = given.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be {expected}, got {type(given).__name__}") from None
    return number


def size(name: str, given: Any, least: int) -> int:
    """A whole number that counts something."""
    number = whole(name, given, "an integer")
    if not least <= number < 2**31:
        raise ValueError(f"{name} must be {f'at least {least}' if number < least else 'below 2**31'}, got {number}")
    return number


def flag(name: str, given: Any) -> bool:
    """Whatever Python takes for true or false, which an array of several values is not."""
    try:
        return bool(given)
    except ValueError:
        raise ValueError(f"{name} must be True or False, got {given!r}") from None


def flags(name: str, given: Any) -> Array:
    """An array of bool."""
    x = view(name, given, "bool")
    if x.dtype != np.bool:
        raise TypeError(f"{name} must hold bool, got {x.dtype}")
    return x


def real_dtype(given: Any) -> np.dtype[Any]:
    """float32 or float64, in the machine's own order of bytes."""
    try:
        found: np.dtype[Any] = np.dtype(given)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be float32 or float64, got {given!r}") from None
    if found not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {found.name}")
    return found


def same_shape(name: str, x: Array, expected: tuple[int, ...], of: str) -> None:
    if x.shape != expected:
        raise ValueError(f"{name} must have the shape of {of}, {expected}, got {x.shape}")


def output(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: dict[str, Any]) -> Array:
    """Check an `out` argument before anything is written to it."""
    if not isinstance(out, np.ndarray) or _nulls.is_masked_array(out):
        raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
    if out.dtype != dtype or not out.dtype.isnative:
        raise TypeError(f"out must hold {dtype}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    for name, given in inputs.items():
        is_buffer = not (given is None or isinstance(given, list | tuple | int | float))
        if not is_buffer:
            continue
        array = given.view(np.ndarray) if isinstance(given, np.ndarray) else view(name, given, NUMBERS)
        if np.may_share_memory(out, array):
            raise ValueError(f"out must not overlap an input, got memory shared with {name}")
    return out


def values(name: str, given: Any) -> Array:
    """`array`, with unsigned integers of 64 bits as signed ones."""
    x = array(name, given)
    if x.dtype != np.uint64:
        return x
    largest = once(x).max(initial=0)
    if largest > np.iinfo(np.int64).max:
        raise OverflowError(f"{name} must fit int64, got {largest}")
    return converted(x, np.int64)


def memories(state: Any, shape: tuple[int, ...], dtype: np.dtype[Any], keyed: bool) -> Array:
    """A new, side by side copy of the carried state: of `shape`, with an axis of any number of keys before it."""
    x = values("state", state) if dtype.kind == "i" else array("state", state)
    if dtype.kind == "i" and x.dtype.kind == "f":
        raise TypeError(f"state must hold integers, as the values do, got {x.dtype}")
    if x.ndim != len(shape) + keyed or x.shape[keyed:] != shape:
        expected = f"(K, {', '.join(map(str, shape))})".replace(", )", ",)") if keyed else shape
        raise ValueError(f"state must have shape {expected}, got {x.shape}")
    _memory.check(x.size * dtype.itemsize, "a copy of state, of shape {},", x.shape)
    return np.array(x, dtype=dtype, order="C")


_FEW_MEMORIES, _SPARSE = 1 << 24, 16  # memories that keys may ask for without a state: so many, or so many a value


def keys(given: Any, of: str, steps: int, known: int | None, inner: int, size: int) -> tuple[Array, int]:
    """The checked keys and K, their number: `known` of a state, else one more than the largest.

    Each key asks for `inner` values of memory, in a call of `size` values in all.
    """
    codes = array("keys", given, "integers")
    same_shape("keys", codes, (steps,), of)
    different = once(codes)
    largest = int(different.view(f"u{codes.itemsize}").max()) if codes.size else -1
    negative = largest > np.iinfo(codes.dtype).max  # read without a sign a negative key is larger than any other
    largest = int(different.max()) if negative else largest
    count = largest + 1 if known is None else known
    if negative or largest >= count:
        (at,) = first_index((different < 0) | (different >= count))
        raise ValueError(f"keys must be from 0 to K - 1 = {count - 1}, got {codes[at]} at index {at}")
    if known is None and count * max(inner, 1) > max(_FEW_MEMORIES, _SPARSE * size):
        (at,) = first_index(different == count - 1)
        raise ValueError(
            f"keys must be numbered from 0 on: got {count - 1} at index {at} of {len(codes)} rows, which asks for as "
            "many memories; numpy.unique(keys, return_inverse=True)[1] or pandas.factorize(keys)[0] numbers them, and "
            "a state of shape (K, ...) allows any K"
        )
    return codes, count


def fill_value(fill: Any, dtype: np.dtype[Any]) -> Any:
    """`fill` as a scalar of y's dtype."""
    if not isinstance(fill, float | int | np.floating | np.integer | np.bool):
        raise TypeError(f"fill must be a number, got {fill!r}")
    try:
        value = float(fill)
    except OverflowError:
        raise ValueError(f"fill must fit {dtype}, got {fill!r}") from None
    if dtype.kind == "f":
        if abs(value) <= 3e38:
            return dtype.type(value)
        with np.errstate(over="ignore"):
            return dtype.type(value)
    if not math.isfinite(value) or int(fill) != fill:
        raise ValueError(f"fill must be an integer where the values are integers, got {fill!r}")
    if not -(2**63) <= int(fill) < 2**63:
        raise ValueError(f"fill must fit int64, got {fill!r}")
    return dtype.type(int(fill))


_ENDS = {"f": (-math.inf, math.inf), "i": (-(2**63), 2**63 - 1)}  # of a memory


def bounds(low: Any, high: Any, dtype: np.dtype[Any]) -> tuple[Any, Any] | None:
    """The ends of a memory of this dtype, where one is not given the dtype's own; None where none is."""
    if low is None and high is None:
        return None
    ends = _ENDS[dtype.kind]
    least = dtype.type(ends[0]) if low is None else _bound("low", low, dtype)
    most = dtype.type(ends[1]) if high is None else _bound("high", high, dtype)
    if least > most:
        raise ValueError(f"low must be at most high, got low={low!r} and high={high!r}")
    return least, most


def _bound(name: str, given: Any, dtype: np.dtype[Any]) -> Any:
    if not isinstance(given, float | int | np.floating | np.integer | np.bool):
        raise TypeError(f"{name} must be a number or None, got {given!r}")
    if given != given:
        raise ValueError(f"{name} must be a number, got {given!r}")
    if dtype.kind == "f":
        try:
            return dtype.type(float(given))
        except OverflowError:
            raise ValueError(f"{name} must fit {dtype}, got {given!r}") from None
    if given in _ENDS["f"] or int(given) != given:
        raise ValueError(f"{name} must be an integer where the values are integers, got {given!r}")
    if not -(2**63) < int(given) < 2**63 - 1:
        raise ValueError(f"{name} must lie between int64's ends, which stand for none, got {given!r}")
    return dtype.type(int(given))


ALLOWED = {-1: "-1, 0, 1 or 2", 0: "0 or 1"}
HIGHEST = {-1: 2, 0: 1}
"""By the lowest rule, what the rules are and which is the highest: x2's are from -1 on, x3's from 0 on."""


def other_rules(rules: Array, low: int) -> Array:
    """Where a rule is not one of those that begin with `low`."""
    return ~np.isin(rules, range(low, HIGHEST[low] + 1))


def first_index(bad: Array) -> tuple[int, ...]:
    """Index of the first true element, in C order."""
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(bad)), bad.shape))


def attributes_without(state: Any, *names: str) -> dict[str, Any]:
    """What `object.__getstate__` gives, attributes and a subclass's slots, less those of these names."""
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    return {name: value for name, value in {**attributes, **slots}.items() if name not in names}


def set_attributes(instance: object, state: dict[str, Any]) -> None:
    """Attributes as they were, slots too, also where a subclass forbids to set them."""
    for name, value in state.items():
        object.__setattr__(instance, name, value)
