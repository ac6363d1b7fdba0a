"""The LSTM: whole sequences, and a step at a time."""
