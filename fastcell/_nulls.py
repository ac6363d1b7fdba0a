"""What a null is: a cell of a frame with nothing in it, or a masked element of an array. One policy for both.

By default a null is an error that says where it is, unless it stands where nothing is read: a value whose rule resets
or keeps. With nulls="keep" it is a number that leaves the memory as it was:

| null                           | is      | so that                                       |
|--------------------------------|---------|-----------------------------------------------|
| value; x1, x; an LSTM's input  | 0       | nothing is added                              |
| control; x2                    | 0       | the memory is kept                            |
| emit; x3; output; o            | 0       | the step is silent, or its output 0           |
| forget; f                      | 1       | the memory is kept                            |
| input; i                       | 0       | nothing is added                              |
| time                           | no time | no time goes by (`frames/times.py`)           |
| a frame's key                  | a key   | such rows have a memory of their own          |

Nothing is null in an output. All else can't be null, whatever `nulls` says: a state, an array's keys, what a frame is
ordered by, weights, lengths, masks, resets, and `out`. NaN is a number but in pandas' columns of NumPy's floats, where
it is how a null is written.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

INSTEAD = {"forget": 1, "f": 1}
"""What a null is with nulls="keep" where that is not 0, by the name of its role or argument."""
_VALUE_IS_NOT_READ = (-1, 0)  # rules
_RULES = {"x1": "x2"}  # the rules that say whether a value is read

Where = Callable[[str, tuple[int, ...]], str]
"""From a name and an index in its array to words for the place."""


def checked(nulls: Any) -> None:
    """Raise for a policy that there is not."""
    if nulls not in ("raise", "keep"):
        raise ValueError(f"nulls must be 'raise' or 'keep', got {nulls!r}")


def needed(absent: Any, rules: Any) -> Any:
    """Those nulls among values that their rules read."""
    return absent & ~np.isin(rules, _VALUE_IS_NOT_READ)


def is_masked_array(given: Any) -> bool:
    return isinstance(given, np.ma.MaskedArray)


def refuse(name: str, given: Any) -> None:
    """Raise for an array with masked elements, or a column of pandas, Polars or Arrow with nulls.

    NumPy would read what is under a mask, and make a column's nulls nan and its integers floats.
    """
    if isinstance(given, list | tuple):
        first = given
        while isinstance(first, list | tuple) and first:
            first = first[0]
        if not isinstance(first, int | float | np.generic) and _holds_masked(given):  # beside numbers NumPy warns
            raise ValueError(f"{name} must have no masked elements, got a {type(given).__name__} that holds some")
    elif is_masked_array(given):
        if np.ma.is_masked(given):
            raise _masked(name, np.ma.getmaskarray(given), "", _at)
    elif (absent := _nulls_of_column(given)) is not None and absent.any():
        got = f"{np.sum(absent)}, the first {_at(name, _first(absent))}"
        raise ValueError(f"{name} must have no nulls, got {got}; fill them, or see fastcell.frames, which takes them")


def filled(arrays: Mapping[str, Any], nulls: str, where: Where | None = None) -> list[Any]:
    """The arguments of these names, masked arrays among them as plain ones in which no null is left."""
    if not any(map(is_masked_array, arrays.values())):
        return list(arrays.values())
    plain: dict[str, Any] = {}
    for name, given in sorted(arrays.items(), key=lambda item: item[0] in _RULES):  # rules before their values
        plain[name] = np.ma.getdata(given) if is_masked_array(given) else given
        if not (is_masked_array(given) and np.ma.is_masked(given)):
            continue
        absent = np.ma.getmaskarray(given)
        if nulls == "raise":
            read, rules = absent, plain.get(_RULES.get(name, ""))
            if rules is not None and np.shape(rules) in ((), absent.shape):
                read = needed(absent, rules)
            if read.any():
                raise _masked(name, read, "; nulls='keep' passes over them", where or _at)
        plain[name] = plain[name].copy()
        plain[name][absent] = INSTEAD.get(name, 0)
    return [plain[name] for name in arrays]


def as_given(y: Any, given: Any) -> Any:
    """The new array y as a masked one, of which nothing is masked, if `given` is one."""
    return y.view(np.ma.MaskedArray) if is_masked_array(given) else y


def _holds_masked(given: Any) -> bool:
    return any(map(_holds_masked, given)) if isinstance(given, list | tuple) else bool(np.ma.is_masked(given))


def _masked(name: str, absent: Any, hint: str, where: Where) -> ValueError:
    at = where(name, _first(absent))
    return ValueError(f"{name} must have no masked elements, got {np.sum(absent)}, the first {at}{hint}")


def _first(absent: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in np.argwhere(absent)[0])


def _at(name: str, index: tuple[int, ...]) -> str:
    return f"at index {index[0] if len(index) == 1 else index}"


def _nulls_of_column(given: Any) -> Any:
    """Where a column is null; None for what is no column, or has no nulls of its own."""
    count = getattr(given, "null_count", None)  # Arrow's number, Polars' method
    if count is not None:
        is_null = getattr(given, "is_null", None)
        return np.asarray(is_null()) if is_null and (count() if callable(count) else count) else None
    isna = getattr(given, "isna", None)  # pandas'
    return np.asarray(isna()) if isna and not isinstance(getattr(given, "dtype", None), np.dtype | None) else None
