"""The scans and the LSTM over Dask's arrays.

xarray calls them on its own. Where each chunk holds all of time, chunks of places go one by one through `fc.toy_scan`;
`apply_ufunc` puts time, its core dimension, last:

>>> import dask.array as da
>>> import numpy as np
>>> import xarray as xr
>>> import fastcell as fc
>>> rain = xr.DataArray(np.arange(12.0).reshape(4, 3), dims=["time", "town"])
>>> core = {"input_core_dims": [["time"]], "output_core_dims": [["time"]]}
>>> def total(x):
...     return np.moveaxis(fc.toy_scan(np.moveaxis(x, -1, 0), 1, 1).y, 0, -1)
>>> y = xr.apply_ufunc(total, rain.chunk(town=1), dask="parallelized", output_dtypes=[float], **core)
>>> y.sel(town=1).values
array([ 1.,  5., 12., 22.])

Chunks along time, as files of a day or a year have them, are refused there, since each needs the memory that the one
before ends with. `.chunk(time=-1)` joins them, at the price of all of time in one task; `fc.dask.toy_scan` takes them
as they are and chains their summaries:

>>> def chained(x):
...     return da.moveaxis(fc.dask.toy_scan(da.moveaxis(x, -1, 0), 1, 1).y, 0, -1)
>>> y = xr.apply_ufunc(chained, rain.chunk(time=2), dask="allowed", **core)
>>> y.chunks, y.sel(town=1).values
(((3,), (2, 2)), array([ 1.,  5., 12., 22.]))

Rules of fewer dimensions are spread over a cube by `np.broadcast_to` without a copy, where they are of time alone or of
places alone; those of time and of some axes of places take a byte a step (int8).
"""

from fastcell.dask.api import gated_scan, lstm, toy_scan

__all__ = ["gated_scan", "lstm", "toy_scan"]
