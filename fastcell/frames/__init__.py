"""The scans over dataframes: pandas, Polars (eager and lazy) and PyArrow."""

from fastcell.frames.api import Frames, gated_scan, lstm, toy_scan

__all__ = ["Frames", "gated_scan", "lstm", "toy_scan"]
