"""The LSTM: whole sequences, and a step at a time. `fastcell.LSTM` adds importers and traces to the one here."""

from fastcell.lstm.api import LSTM
from fastcell.lstm.cell import CellParams, LSTMCell, lstm_step

__all__ = ["LSTM", "CellParams", "LSTMCell", "lstm_step"]
