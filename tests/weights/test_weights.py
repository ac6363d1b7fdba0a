"""What all importers share: nothing is imported that was not given, and a missing library says which extra it is in."""

import subprocess
import sys
import textwrap

import fastcell as fc
from fastcell import weights


def run(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_libraries_are_imported_only_where_something_of_theirs_is_given():
    run("""
        import sys
        import numpy as np
        import fastcell as fc
        fc.LSTM.from_torch({"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2))})
        fc.LSTM.from_keras([np.ones((3, 8)), np.ones((2, 8))])
        gates = {side + gate: {"kernel": np.ones((n, 2))} for side, n in (("i", 3), ("h", 2)) for gate in "ifgo"}
        fc.LSTM.from_flax(gates)
        for name in ("torch", "onnx", "keras", "tensorflow", "flax", "jax", "h5py", "safetensors", "ml_dtypes"):
            assert name not in sys.modules, name
    """)


CALLS = {
    "onnx": ["from_onnx(b'')"],
    "h5py": ["from_keras('a.keras')"],
    "safetensors": ["from_safetensors('a')", "load('a')", "save('a')"],
}


def test_a_missing_library_says_which_extra_it_is_in():
    told = run(f"""
        import sys
        import fastcell as fc
        for library, calls in {CALLS}.items():
            sys.modules[library] = None
            for call in calls:
                try:
                    eval("fc.LSTM(1, 1)." + call)
                except ImportError as error:
                    print(error)
    """)
    wanted = [(call.partition("(")[0], library) for library, calls in CALLS.items() for call in calls]
    for line, (name, library) in zip(told.splitlines(), wanted, strict=True):
        assert line.startswith(f"{name} needs the {library} library")
        assert line.endswith("pip install 'fastcell[weights]'")


def test_the_methods_are_those_of_the_functions():
    for name in ("from_flax", "from_keras", "from_onnx", "from_safetensors", "from_torch", "load", "save"):
        assert callable(getattr(weights, name))
        assert getattr(fc.LSTM, name).__doc__ == getattr(weights.Importers, name).__doc__
        assert "Raises" in getattr(fc.LSTM, name).__doc__
