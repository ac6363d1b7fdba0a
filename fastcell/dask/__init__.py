"""The scans and the LSTM over Dask's arrays."""

from fastcell.dask.api import gated_scan, lstm, toy_scan

__all__ = ["gated_scan", "lstm", "toy_scan"]
