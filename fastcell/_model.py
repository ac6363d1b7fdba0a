"""The public LSTM, put together from rooms that do not know each other: forward pass, importers and files, traces."""

from fastcell import lstm
from fastcell.trace.driver import Traced
from fastcell.weights import Importers


class LSTM(lstm.LSTM, Traced, Importers):
    __doc__ = lstm.LSTM.__doc__
    __module__ = "fastcell"
