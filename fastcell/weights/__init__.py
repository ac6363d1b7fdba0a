"""Weights from elsewhere as arguments of LSTM, and an LSTM as a file.

A module for each source: what it makes are LSTM's arguments, with torch.nn.LSTM's names and shapes. No library is
imported before something of its kind is given.
"""

from typing import TYPE_CHECKING, Any, Self

from fastcell._checks import Array
from fastcell.weights.flax import from_flax
from fastcell.weights.keras import from_keras
from fastcell.weights.onnx import from_onnx
from fastcell.weights.safetensors import from_safetensors, load, save
from fastcell.weights.torch import from_torch

__all__ = ["Importers", "from_flax", "from_keras", "from_onnx", "from_safetensors", "from_torch", "load", "save"]


def _in_precision(arguments: dict[str, Any], precision: str | None) -> dict[str, Any]:
    """What a source's weights are multiplied in, unless something else is asked for."""
    return arguments if precision is None else arguments | {"precision": precision}


class Importers:
    """LSTM's ways in and out of files and other libraries."""

    if TYPE_CHECKING:

        def __init__(self, **arguments: Any) -> None: ...

        def state_dict(self) -> dict[str, Array]: ...

    @classmethod
    def from_rules(
        cls, *, scale: float = 2.0**-40, strength: float = 1000.0, dtype: Any = "float64", restart: bool = False
    ) -> tuple[Self, float]:
        """An LSTM with one unit that keeps the toy cell's rules on rows [x1, x2, x3], and the factor from h to y.

        ``i = sigmoid(k (2 x2 - 1))``, ``f = sigmoid(k (2 x2 + 1))``, ``o = sigmoid(k (2 x3 - 1))``,
        ``g = tanh(s x1)``: saturated gates, and a memory so small that tanh lets it through.

        For these gates a rule of 2 is another 1. With `restart` it restarts the memory: f is then to be 1 for x2 of 0
        and 1 alone, while a gate rises or falls with x2, so a layer of four units works out the gates of a second
        layer's unit 0, which is the cell.

        Parameters
        ----------
        scale : float
            s, the memory's size for each unit of x1; above 0.
        strength : float
            k; above 0. A gate is off by exp(-k), which is 0 for k above 745 (104 in float32): softer gates leak.
        dtype : "float32" or "float64"
        restart : bool
            Keep the rule x2 = 2, too, in two layers of four units.

        Returns
        -------
        (lstm, factor)
            ``factor * lstm(rows)[0][:, 0]`` is `toy_scan`'s y; the memory a is ``factor * c`` of the same unit.

        Raises
        ------
        ValueError
            A scale or strength that is not a finite number above 0 in that dtype.
        TypeError
            Another dtype.

        Notes
        -----
        tanh(z) = z - z^3 / 3 + ..., so each value added is off by a share of (s x1)^2 / 3, and each output by another
        one of (s a)^2 / 3: below float64's rounding where x1 and a stay below 8192 with the default scale. A reset
        leaves exactly 0 behind with the default strength; unlike `toy_scan`, nan and infinity in x1 stay.

        Examples
        --------
        >>> import fastcell as fc
        >>> lstm, factor = fc.LSTM.from_rules()
        >>> y, _ = lstm([[3, 1, 0], [5, 0, 1], [2, 1, 0], [3, 0, 1]])
        >>> (factor * y[:, 0]).round(9)
        array([0., 3., 0., 5.])
        >>> lstm, factor = fc.LSTM.from_rules(restart=True)
        >>> y, _ = lstm([[3, 1, 0], [5, 2, 1], [2, 1, 1]])
        >>> (factor * y[:, 0]).round(9)
        array([0., 5., 7.])
        """
        from fastcell.weights import rules

        arguments, factor = rules.lstm_arguments(scale, strength, dtype, restart)
        return cls(**arguments), factor

    @classmethod
    def from_torch(cls, source: Any, prefix: str = "", *, precision: str | None = None) -> Self:
        """An LSTM with the weights of a torch.nn.LSTM, wherever in a model, a checkpoint or a file it is.

        Parameters
        ----------
        source : module, ScriptModule, dict, or path
            An nn.LSTM, an nn.LSTMCell, quantize_dynamic's of either, a quantizable.LSTM, or a module that holds one; a
            state dict of tensors or arrays, or a checkpoint with one in it at any depth; the path of a file of
            torch.save, of which only tensors, dicts and lists are read and nothing is run, or of torch.jit.save.
        prefix : str
            Of the weights' names where there are several LSTMs, as "encoder.lstm", or an end or a beginning of it that
            fits one of them alone; names of containers, "module." and "_orig_mod." in front may be left out.
        precision : str, optional
            Of the products, as in `LSTM`; None for that of the weights, which for integers is "int8".

        Returns
        -------
        LSTM
            It takes batch_first from a module or script, too. Dropout, which acts in training alone, is left out.
            Weights under weight_norm, spectral_norm, pruning or weight drop (`_raw`) are those that the module computes
            with. Of one that quantize_dynamic made of qint8, precision is "int8" and the integers are taken as they
            are, scales of a whole weight or one a row; only where int8 can't hold them (a zero point that leaves less
            than -128 or more than 127) are the numbers they stand for rounded anew, by blocks. x and h are rounded by
            this package's rule, not PyTorch's: a row and step have a scale of their own. "float32" widens integers, as
            always where some weights are floats, and for float16.

        Raises
        ------
        ValueError
            No LSTM weights under the prefix, several LSTMs (the message lists them), a weight missing, or a wrong
            shape; an LSTM of a static quantisation; a file that holds other objects or is damaged.
        TypeError
            Something else than what `source` may be.
        ImportError
            For a path, without PyTorch: `pip install torch`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastcell as fc
        >>> weights = {"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
        >>> fc.LSTM.from_torch(weights).hidden_size
        2
        """
        return cls(**_in_precision(from_torch(source, prefix), precision))

    @classmethod
    def from_onnx(cls, model: Any, node: str | list[str] | None = None, *, precision: str | None = None) -> Self:
        """An LSTM with the weights and attributes of an ONNX model's LSTM node, or of a stack of them.

        Nodes that follow each other with nothing but Squeeze, Reshape, Transpose, Dropout or Identity between make one
        LSTM, as long as their sizes and attributes are the same. Constant `initial_h` and `initial_c`, alike for all
        rows, become its `initial_state`; a Transpose of the graph's input in front makes it `batch_first`.

        Parameters
        ----------
        model : path, bytes or onnx.ModelProto
        node : str or list of str, optional
            The node's name, or its first output's, where there are several that are no stack; subgraphs are searched,
            too. The first of a chain stands for all that follow it and are its like; a list names the layers one by
            one, or one of them alone.
        precision : str, optional
            Of the products, as in `LSTM`; None for that of the weights, which for integers is "int8".

        Returns
        -------
        LSTM
            Its y is (T, B, D*H), where ONNX has (T, D, B, H). Of DynamicQuantizeLSTM, precision is "int8" and the
            integers are taken as they are, scales of a whole weight or one a unit and gate, uint8 less its zero point;
            only where int8 can't hold them are the numbers they stand for rounded anew, by blocks. x and h are rounded
            by this package's rule: a row and step have a scale of their own. "float32" widens integers, as in a stack
            of which some layers hold floats. An LSTM behind DequantizeLinear computes in floats there and, unless
            "int8" is asked for, here; where that node is right in front, int8 takes its integers, too.

        Raises
        ------
        ValueError
            A file that is no model, no such node, several that are no stack and no `node`, or weights that an input
            decides.
        ImportError
            Without the onnx library: `pip install 'fastcell[weights]'`.

        Warns
        -----
        UserWarning
            What is left out and is to be given in a call: a state that other nodes compute or that differs from row to
            row (`state=`), lengths that are no input of the model's (`lengths=`).
        """
        return cls(**_in_precision(from_onnx(model, node), precision))

    @classmethod
    def from_keras(cls, source: Any, layer: str | list[str] | None = None, *, precision: str | None = None) -> Self:
        """An LSTM with the weights and options of Keras's LSTM layers; x stays batch first, as it is there.

        Layers that follow each other make one LSTM, as long as their sizes and activations are the same; dropout
        between them acts in training alone and is left out, as are all layers before the first and after the last.

        Parameters
        ----------
        source : layer, model, list, or path
            An LSTM, a CuDNNLSTM, a Bidirectional (merge_mode concat), an RNN of an LSTMCell, an LSTMCell; a Sequential
            or Functional model; `layer.get_weights()`, which is taken for a layer with the default activations; a list
            of any of these, one a layer; or the path of a .keras, .h5 or .weights.h5 file, of which nothing is run.
            Weights alone hold no options, so there, too, activations are the default ones: hard_sigmoid for the gates
            in a file from before Keras 2.3, sigmoid since then and for CuDNNLSTM.
        layer : str or list of str, optional
            The layers' names, where a model's LSTM layers don't follow each other or differ.
        precision : str, optional
            Of the products, as in `LSTM`; None for that of the weights.

        Returns
        -------
        LSTM
            One with batch_first, unless the layers are time_major. `reverse` for go_backwards, where y comes in x's
            order: Keras gives it reversed. y is always the whole sequence, whatever return_sequences; past a row's end
            it is 0, where Keras repeats the last output if zero_output_for_mask is not set. unit_forget_bias says how a
            bias starts, and dropout how training goes: neither changes anything here.

        Raises
        ------
        ValueError
            No LSTM layer, or one that is not built; what this LSTM has no equal of (layers of several sizes or
            activations, an activation of one's own, another merge_mode); a file that is damaged.
        TypeError
            Something else than what `source` may be.
        ImportError
            For a file, without the h5py library: `pip install 'fastcell[weights]'`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastcell as fc
        >>> kernel, recurrent, bias = np.zeros((3, 8)), np.zeros((2, 8)), np.zeros(8)  # gates i, f, c, o
        >>> fc.LSTM.from_keras([kernel, recurrent, bias])
        LSTM(3, 2, num_layers=1, dtype='float64')
        """
        return cls(**from_keras(source, layer), precision=precision)

    @classmethod
    def from_flax(cls, params: Any, *, precision: str | None = None) -> Self:
        """An LSTM with the weights of Flax's LSTMCell or OptimizedLSTMCell, of linen or nnx.

        Parameters
        ----------
        params : dict, nnx module, or list of these
            What linen's `init` returns, or any part of it, that holds one cell, or the two of a Bidirectional; an nnx
            cell, RNN or Bidirectional, or its state. A list has one for each layer.
        precision : str, optional
            Of the products, as in `LSTM`; None for that of the weights.

        Returns
        -------
        LSTM
            One with batch_first, as RNN has it, unless an nnx RNN is time_major. Where `params` holds arrays alone,
            which say no more, of the cell's default activations and forward; a Bidirectional has both outputs side by
            side. An nnx module's activations and `reverse` are taken over; y comes in x's order, which RNN calls
            keep_order. The state is (h, c), where Flax has (c, h).

        Raises
        ------
        ValueError
            No cell in `params`, or several; a wrong shape; an activation that this LSTM doesn't have.
        TypeError
            Something else than what `params` may be.

        Examples
        --------
        >>> import numpy as np
        >>> import fastcell as fc
        >>> gates = {"i" + gate: {"kernel": np.zeros((3, 2))} for gate in "ifgo"}
        >>> gates |= {"h" + gate: {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)} for gate in "ifgo"}
        >>> fc.LSTM.from_flax({"params": {"cell": gates}}).hidden_size
        2
        """
        return cls(**from_flax(params), precision=precision)

    @classmethod
    def from_safetensors(cls, path: Any, prefix: str = "", *, precision: str | None = None) -> Self:
        """An LSTM with the weights that a safetensors file from elsewhere has under nn.LSTM's names.

        Parameters
        ----------
        path : path
        prefix : str
            Of the weights' names in a whole model's file, as "encoder.lstm"; no other tensor is read.
        precision : str, optional
            Of the products, as in `LSTM`; None for that of the weights.

        Raises
        ------
        ValueError
            A file that is no safetensors file or damaged, no LSTM weights under the prefix, or a wrong shape.
        ImportError
            Without the safetensors library: `pip install 'fastcell[weights]'`.
        """
        return cls(**from_safetensors(path, prefix), precision=precision)

    def save(self, path: Any) -> None:
        """Write weights and configuration as a safetensors file, whole or not at all.

        Weights have nn.LSTM's names, so that other programs read them; `LSTM.load` reads the configuration, too.

        Raises
        ------
        OSError
            Where the file cannot be written; one that was there stays as it was.
        ImportError
            Without the safetensors library: `pip install 'fastcell[weights]'`.

        Examples
        --------
        >>> import tempfile
        >>> import fastcell as fc
        >>> lstm = fc.LSTM(3, 5, peepholes=True, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lstm.save(folder + "/lstm.safetensors")
        ...     fc.LSTM.load(folder + "/lstm.safetensors").peepholes
        True
        """
        save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """The LSTM that `save` wrote, bit for bit.

        Raises
        ------
        ValueError
            A file that something else wrote (`from_safetensors` reads it), or one that has been changed since: a
            checksum covers weights and configuration.
        ImportError
            Without the safetensors library: `pip install 'fastcell[weights]'`.
        """
        return load(cls, path)
