"""A layer of Keras, wherever it was found: in a model, in a file, or as weights alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LSTMS = ("LSTM", "Bidirectional", "RNN", "LSTMCell", "CuDNNLSTM")


@dataclass(eq=False)
class Layer:
    """A layer of a model, of a file, or alone."""

    name: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[], list[Any]] = list
    """Its weights: kernel, recurrent kernel and maybe bias, of the second direction, too."""
    feeders: set[str] | None = None
    """The layers that its inputs come from; None where the one before is the only one."""
    start: set[str] | None = None
    """The layers that the initial state of its calls comes from; None where they have none."""
    inner: "list[Layer]" = field(default_factory=list)
    """A model's layers."""
    version: int = 3
    """Keras's, to whose names of activations the configuration refers."""
    before: str = ""
    """Keras's version in full, of a file from before 2.3: its default recurrent activation is another."""
    aliases: tuple[str, ...] = ()
    """Other names of it."""
    ordered: bool = True
    """Whether the layer before it in a list comes before it in the model, too."""

    @property
    def is_lstm(self) -> bool:
        if self.kind not in LSTMS:
            return False
        inside = {"Bidirectional": "layer", "RNN": "cell"}.get(self.kind)
        held = self.config.get(inside) if inside else None
        return held is None or held.get("class_name") in ("LSTM", "LSTMCell", "CuDNNLSTM")

    @property
    def is_cudnn(self) -> bool:
        held = self.config.get("layer") if self.kind == "Bidirectional" else None
        return "CuDNNLSTM" in (self.kind, held.get("class_name") if held else None)


def major(version: Any) -> int:
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    first = text.partition(".")[0]
    if not first.isdecimal():
        raise ValueError(f"keras_version must be as '3.1.0', got {text!r}")
    return int(first)


def before_2_3(version: Any) -> str:
    """The version, where it is older than Keras 2.3, else nothing."""
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    second = text.split(".")[1] if "." in text else ""
    release = major(version), int(second) if second.isdecimal() else 0
    return text if release < (2, 3) else ""


def feeders(nodes: Any) -> set[str]:
    """The layers named in inbound nodes: Keras 3 marks tensors, before they were [name, node, tensor, ...]."""
    found: set[str] = set()
    left = [nodes]
    while left:
        item = left.pop()
        if isinstance(item, Mapping):
            history = item.get("keras_history") if isinstance(item.get("keras_history"), list | tuple) else None
            if history:
                found.add(str(history[0]))
            else:
                left.extend(item.values())
        elif isinstance(item, list | tuple):
            if len(item) >= 3 and isinstance(item[0], str) and all(type(k) is int for k in item[1:3]):
                found.add(item[0])
                left.extend(item[3:])
            else:
                left.extend(item)
    return found


def start(nodes: Any) -> set[str] | None:
    """The layers that an initial state in inbound nodes comes from, None where there is none.

    It is a second argument or a named one; before Keras 3, tensors after a node's first, too.
    """
    given: list[Any] = []
    for node in nodes if isinstance(nodes, list | tuple) else ():
        if isinstance(node, Mapping):
            given += [*(node.get("args") or ())[1:2], (node.get("kwargs") or {}).get("initial_state")]
        elif isinstance(node, list | tuple):
            tensors = [node] if node and isinstance(node[0], str) else node
            named = [part for tensor in tensors for part in tensor[3:4] if isinstance(part, Mapping)]
            given += [*tensors[1:], *(part.get("initial_state") for part in named)]
    return feeders(given) if any(given) else None
