"""Activation functions on vectors: fma, shifts and one division each, no call into libm.

Every function takes a vector of float32 or float64 and gives one. `sigmoid` and `tanh` are within 4 ulp of the true
value over the whole range, never outside [0, 1] and [-1, 1], exact at 0 and at infinities; tanh is odd bit for bit.
NaN in gives NaN out. Both rest on exp(a) = 2**n * (1 + q): n is a / ln 2 rounded, q is expm1 of the remainder, a
polynomial. With tanh |x| = (1 - e) / (1 + e), e = exp(-2 |x|), the difference 1 - e = (1 - 2**n) - 2**n * q loses
nothing near 0, where n = 0.

Source: the reduction is Cody & Waite's (1980), Software Manual for the Elementary Functions.
"""

from fastcell._jit import helper, inline
from fastcell.simd.vector import bits, fma, is_double, polynomial, select

# (expm1(r) / r - 1) / r on |r| <= ln(2) / 2, interpolated in Chebyshev's points; relative error 2.3e-8 and 3.6e-17
_EXP_SINGLE = (0.5, 0.16666576266288757, 0.041666556149721146, 0.008363178931176662, 0.0013926184037700295)
_EXP_DOUBLE = (
    0.5000000000000001, 0.16666666666666669, 0.04166666666662413, 0.008333333333330062, 0.0013888888917213717,
    0.00019841269863053618, 2.4801521295954376e-05, 2.7557268459997064e-06, 2.7620088445409746e-07,
    2.510038549551032e-08,
)  # fmt: skip
# 2**r for |r| <= 1/2, of least relative error, 2.8e-6, exact at 0
_POWER_ROUGH = (1.0, 0.6931243538856506, 0.24024145305156708, 0.05590597167611122, 0.009581047110259533)
_LOG_SINGLE = tuple(2 / (2 * k + 1) for k in range(8))  # log((1 + u) / (1 - u)) / u, in u * u
_LOG_DOUBLE = tuple(2 / (2 * k + 1) for k in range(18))

_LOG2E = 1.4426950408889634
# ln 2 in two parts, the first with so few bits that its product with n is exact
_LN2_SINGLE, _LN2_SINGLE_REST = 0.693359375, -2.1219444005469057e-4
_LN2_DOUBLE, _LN2_DOUBLE_REST = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# adding 1.5 * 2**(bits of the mantissa) leaves the rounded integer in the low bits
_ROUND_SINGLE, _ROUND_DOUBLE = 12582912.0, 6755399441055744.0

SIGMOID, TANH, RELU, HARD_SIGMOID, SOFTSIGN, LEAKY_RELU, ELU, SOFTPLUS, AFFINE, THRESHOLD, SCALED_TANH, IDENTITY = (
    range(12)
)

KNOWN = {
    "sigmoid": (SIGMOID, 0.0, 0.0),
    "tanh": (TANH, 0.0, 0.0),
    "relu": (RELU, 0.0, 0.0),
    "hard_sigmoid": (HARD_SIGMOID, 0.2, 0.5),
    "softsign": (SOFTSIGN, 0.0, 0.0),
    "leaky_relu": (LEAKY_RELU, 0.01, 0.0),
    "elu": (ELU, 1.0, 0.0),
    "softplus": (SOFTPLUS, 0.0, 0.0),
    "affine": (AFFINE, 1.0, 0.0),
    "threshold": (THRESHOLD, 1.0, 0.0),
    "scaled_tanh": (SCALED_TANH, 1.0, 1.0),
    "identity": (IDENTITY, 0.0, 0.0),
}
"""Each activation's number, and the alpha and beta that it has by default (ONNX's)."""

BOUNDED = frozenset((SIGMOID, TANH))
"""Those that never leave [-1, 1]."""


@inline
def _split(a):
    """n (in the low bits of a vector of integers, and as a float) and q with exp(a) = 2**n * (1 + q)."""
    if is_double(a):
        rounded = fma(a, _LOG2E, _ROUND_DOUBLE)
        n = rounded - _ROUND_DOUBLE
        r = fma(n, -_LN2_DOUBLE_REST, fma(n, -_LN2_DOUBLE, a))
        q = fma(r * r, polynomial(r, _EXP_DOUBLE), r)
    else:
        rounded = fma(a, _LOG2E, _ROUND_SINGLE)
        n = rounded - _ROUND_SINGLE
        r = fma(n, -_LN2_SINGLE_REST, fma(n, -_LN2_SINGLE, a))
        q = fma(r * r, polynomial(r, _EXP_SINGLE), r)
    return bits(rounded), q


@inline
def _power(n):
    """2**n as floats, n the low bits of a vector of integers."""
    if is_double(bits(n)):
        return bits((n + 1023) << 52)
    return bits((n + 127) << 23)


@inline
def _magnitude(x):
    if is_double(x):
        return bits(bits(x) & ((1 << 63) - 1))
    return bits(bits(x) & ((1 << 31) - 1))


@inline
def _with_sign(x, of):
    """x, not negative, with the sign of `of`."""
    if is_double(x):
        return bits(bits(x) | (bits(of) & -(1 << 63)))
    return bits(bits(x) | (bits(of) & -(1 << 31)))


@inline
def _exp_negative(a):
    """exp(a) for a <= 0, down to the smallest denormal number: scaled by a power that exists, and back."""
    if is_double(a):
        n, q = _split(select(a < -746.0, -746.0, a))
        power = _power(n + 64)
    else:
        n, q = _split(select(a < -104.0, -104.0, a))
        power = _power(n + 64)
    return fma(power, q, power) * 2.0**-64


@inline
def sigmoid_parts(x):
    """sigmoid(x) as a numerator and a denominator from 1 to 2, so that a product takes one division for two."""
    e = _exp_negative(-_magnitude(x))
    return select(x < 0, e, 1.0), 1.0 + e


@inline
def tanh_parts(x):
    """tanh(x) as a numerator and a denominator from 1 to 2."""
    a = _magnitude(x) * -2.0
    n, q = _split(select(a < -44.0, -44.0, a))
    power = _power(n)
    return _with_sign(fma(-power, q, 1.0 - power), x), fma(power, q, 1.0 + power)


@inline
def _rough_exp(x, factor, limit):
    """exp(-factor * x) of floats as two factors, the second a power of two; x is held to [-limit, limit]."""
    x = select(x < -limit, -limit, x)
    x = select(x > limit, limit, x)
    rounded = fma(x, -factor * _LOG2E, _ROUND_SINGLE)
    r = fma(x, -factor * _LOG2E, _ROUND_SINGLE - rounded)
    return polynomial(r, _POWER_ROUGH), _power(bits(rounded))


@inline
def rough_sigmoid_part(x):
    """The denominator of which sigmoid(x) is the reciprocal, within 1e-6: for sums that are no better than that."""
    e, power = _rough_exp(x, 1.0, 40.0)
    return fma(e, power, 1.0)


@inline
def rough_tanh_parts(x):
    """tanh(x) as a numerator and a denominator, within 2e-6."""
    e, power = _rough_exp(x, 2.0, 20.0)
    return fma(-e, power, 1.0), fma(e, power, 1.0)


@inline
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    numerator, denominator = sigmoid_parts(x)
    return numerator / denominator


@inline
def tanh(x):
    """(1 - exp(-2 |x|)) / (1 + exp(-2 |x|)), with the sign of x."""
    numerator, denominator = tanh_parts(x)
    return numerator / denominator


@inline
def expm1(x):
    """exp(x) - 1 for x <= 0."""
    n, q = _split(select(x < -44.0, -44.0, x))
    power = _power(n)
    return fma(power, q, power - 1.0)


@inline
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    e = _exp_negative(-_magnitude(x))
    u = e / (e + 2.0)
    rest = u * (polynomial(u * u, _LOG_DOUBLE) if is_double(x) else polynomial(u * u, _LOG_SINGLE))
    return select(x < 0, 0.0, x) + rest


@inline
def hard_sigmoid(x, alpha, beta):
    """max(0, min(1, alpha * x + beta))."""
    y = fma(x, alpha, beta)
    y = select(y < 0, 0.0, y)
    return select(y > 1, 1.0, y)


@inline
def softsign(x):
    """x / (1 + |x|), and the sign of an infinite x."""
    size = _magnitude(x)
    return select(size == float("inf"), _with_sign(select(size == size, 1.0, x), x), x / (1.0 + size))


@helper
def activate(x, code, alpha, beta):
    """The activation of that number: of `KNOWN`."""
    if code == SIGMOID:
        return sigmoid(x)
    if code == TANH:
        return tanh(x)
    if code == RELU:
        return select(x < 0, 0.0, x)
    if code == HARD_SIGMOID:
        return hard_sigmoid(x, alpha, beta)
    if code == SOFTSIGN:
        return softsign(x)
    if code == LEAKY_RELU:
        return select(x < 0, x * alpha, x)
    if code == ELU:
        return select(x < 0, expm1(select(x < 0, x, 0.0)) * alpha, x)
    if code == SOFTPLUS:
        return softplus(x)
    if code == AFFINE:
        return fma(x, alpha, beta)
    if code == THRESHOLD:
        return select(x < alpha, 0.0, x)
    if code == SCALED_TANH:
        return tanh(x * beta) * alpha
    return x
