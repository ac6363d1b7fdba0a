"""The vector machine that Numba lacks: vectors that stay in registers, tiles of them, and activations of them."""
