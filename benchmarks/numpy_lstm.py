"""An LSTM in NumPy as one writes it by hand: the yardstick. It never changes, or the ratios on the dashboard break."""

import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def step(x, h, c, w_ih, w_hh, bias):
    """x: (B, I)  h, c: (B, H)  w_ih: (4H, I)  w_hh: (4H, H)  bias: (4H,), gates i, f, g, o"""
    i, f, g, o = np.split(x @ w_ih.T + h @ w_hh.T + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(x, w_ih, w_hh, bias):
    """One layer, one direction, from a state of zeros. x: (T, B, I)  y: (T, B, H)"""
    y = np.empty((*x.shape[:2], w_hh.shape[1]), x.dtype)
    h = c = np.zeros(y.shape[1:], x.dtype)
    for t in range(len(x)):
        h, c = step(x[t], h, c, w_ih, w_hh, bias)
        y[t] = h
    return y
