"""LSTM's options, drawn by hypothesis."""

from hypothesis import strategies as st

from tests.helpers.lstms import FUNCTIONS

BOUNDED = st.sampled_from(
    ["sigmoid", "tanh", "hard_sigmoid", "softsign", ("scaled_tanh", 0.5, 0.7), ("hard_sigmoid", 0.3)]
)
ANY = st.sampled_from([*FUNCTIONS, ("leaky_relu", 0.2), ("elu", 0.5), ("affine", 0.5, 0.1), ("threshold", 0.1)])


@st.composite
def configurations(draw):
    H = draw(st.sampled_from([1, 2, 5, 7, 8, 9, 15, 16, 17, 33]))
    both = draw(st.booleans())
    special = draw(st.booleans())
    return {
        "input_size": draw(st.sampled_from([0, 1, 2, 3, 8, 17])),
        "hidden_size": H,
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "bidirectional": both,
        "proj_size": draw(st.integers(0, H - 1)) if draw(st.booleans()) else 0,
        "reverse": not both and draw(st.booleans()),
        "peepholes": special and draw(st.booleans()),
        "coupled": special and draw(st.booleans()),
        "clip": draw(st.sampled_from([None, 0.1, 1.0])) if special else None,
        "activations": (draw(BOUNDED), draw(ANY), draw(ANY)) if special else ("sigmoid", "tanh", "tanh"),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 9)),
    }
