"""The layers of Keras's files: .keras, whole .h5 and .weights.h5, read as JSON and arrays; nothing of them is run."""

import io
import json
import math
import mmap
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastcell import _memory
from fastcell._checks import Array
from fastcell.weights import hdf_claims
from fastcell.weights.keras_layers import Layer, before_2_3, feeders, major, start

_SIDES = ("forward_", "backward_")
_ZIP, _HDF = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_MOST_JSON, _MOST_GROUPS, _DEEPEST = 1 << 24, 100_000, 50
_CHUNK = 1 << 26  # bytes that a chunk of small weights may have
_DEFLATE = 1032  # no byte of deflate's stands for more
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError, RecursionError,
    RuntimeError, TypeError, UnicodeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


_Found = tuple[str, tuple[str, ...], list[Any]]
"""A layer's name, other names of it, and its datasets."""


@contextmanager
def read(path: Any) -> Iterator[list[Layer]]:
    """The layers of a file, for as long as it is open; what h5py and zipfile say of a damaged one is a ValueError."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("from_keras needs the h5py library for files: pip install 'fastcell[weights]'") from error
    with open(path, "rb") as raw:
        start = raw.read(8)
        if not start.startswith((_ZIP, _HDF)):
            raise ValueError(f"source must be a .keras, .h5 or .weights.h5 file, got {path}, which starts {start!r}")
        try:
            if start.startswith(_ZIP):
                with zipfile.ZipFile(raw) as archive:
                    config = _json(_member(archive, "config.json", _MOST_JSON))
                    version = major(_json(_member(archive, "metadata.json", _MOST_JSON))["keras_version"])
                    most = _DEFLATE * os.path.getsize(path)
                    weights = _member(archive, "model.weights.h5", most)
                hdf_claims.check(weights)
                with h5py.File(io.BytesIO(weights), "r") as file:
                    yield [_from_config(config, file, version)]
            else:
                with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    hdf_claims.check(data)
                with h5py.File(path, "r") as file:
                    yield _from_hdf(file)
        except _DAMAGE as error:
            raise ValueError(f"source must be a file as Keras writes it, got {path} ({error!r})") from error


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > most:
        raise ValueError(f"{name} must have at most {most} bytes, got {size}")
    _memory.check(2 * size, "{} in the file", name)
    return archive.read(name)


def _json(text: bytes | str) -> Any:
    try:
        made = json.loads(text)
    except ValueError as error:
        raise ValueError(f"source must have its configuration in JSON ({error})") from error
    if not isinstance(made, dict):
        raise ValueError(f"source must have its configuration in a JSON object, got {type(made).__name__}")
    return made


def _kind(entry: Mapping[str, Any]) -> str:
    """Keras's class; one of somebody else's goes by its full name."""
    kind, module = str(entry["class_name"]), entry.get("module")
    ours = not module or str(module).partition(".")[0] in ("keras", "tf_keras", "tensorflow")
    return kind if ours and ">" not in str(entry.get("registered_name")) else f"{module or ''}.{kind}"


# Files with a configuration


def _from_config(entry: Mapping[str, Any], group: Any, version: int, deep: int = 0) -> Layer:
    """A layer or model, whose weights are in this group: .../layers/lstm_1/cell/vars/0, counted by class."""
    config, kind = entry["config"], _kind(entry)
    name = str(config.get("name", entry.get("name", kind)))
    if isinstance(config.get("layers"), list) and deep < _DEEPEST:
        inner, counts = [], dict[str, int]()
        for each in config["layers"]:
            snake = _snake(str(each["class_name"]))
            counts[snake] = counts.get(snake, -1) + 1
            there = _child(group, f"{snake}_{counts[snake]}" if counts[snake] else snake)
            inner.append(_from_config(each, there, version, deep + 1))
        return _model(config["layers"], name, kind, inner)
    return Layer(name, kind, config, lambda: _arrays(_own(group, name), name), version=version)


def _model(entries: list[Any], name: str, kind: str, inner: list[Layer]) -> Layer:
    for each, made in zip(entries, inner, strict=True):
        if "inbound_nodes" in each:
            made.feeders, made.start = feeders(each["inbound_nodes"]), start(each["inbound_nodes"])
            made.name = str(each.get("name", made.name))
    return Layer(name, kind, inner=inner)


def _snake(name: str) -> str:
    """Keras's way to name a group after a class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _child(group: Any, name: str) -> Any:
    for container in ("layers", "_layer_checkpoint_dependencies"):
        found = _at(group, container, name)
        if found is not None:
            return found
    return None


def _variables(group: Any) -> list[Any]:
    """The datasets of a layer's cell or of both, numbered in the order of get_weights()."""
    made: list[Any] = []
    for way in (("cell",), ("forward_layer", "cell"), ("backward_layer", "cell")):
        found = _at(group, *way, "vars")
        if found is not None:
            made += [_at(found, key) for key in sorted(found, key=lambda key: (len(key), key))]
    return made


def _own_name(group: Any) -> str | None:
    """What the layer is called, which a group of Keras 3's says beside its place."""
    variables = _at(group, "vars")
    return None if variables is None or "name" not in variables.attrs else str(variables.attrs["name"])


def _own(group: Any, name: str) -> list[Any]:
    if _own_name(group) not in (None, name):
        raise ValueError(f"weights of layer {name!r} must be in its place, got those of {_own_name(group)!r}")
    return _variables(group)


# Files of weights alone, and whole .h5 files


def _from_hdf(file: Any) -> list[Layer]:
    found: list[_Found] = []
    if "layer_names" in file.attrs or _at(file, "model_weights") is not None:
        weights = _at(file, "model_weights") or file
        # Keras 1 wrote none at first; of weights alone, the version stands beside them.
        said = file.attrs.get("keras_version", weights.attrs.get("keras_version"))
        before = before_2_3("1" if said is None else said)
        text = file.attrs.get("model_config")
        if text is None:
            names = [str(name) for name in _texts(weights, "layer_names")]
            found = [(name, (), parts) for name in names if (parts := _legacy_layer(_at(weights, name)))]
            return _alone(found, before)
        version = 2 if said is None else major(said)
        layers = [_from_legacy(_json(text), weights, None, version)]
        for layer in _all(layers):
            layer.before = before
        return layers
    _search(file, (), found, [0])
    return _alone(found)


def _all(layers: list[Layer]) -> Iterator[Layer]:
    for layer in layers:
        yield layer
        yield from _all(layer.inner)


def _alone(found: list[_Found], before: str = "") -> list[Layer]:
    """Layers of which only weights are known: an LSTM by its shapes, h's kernel being (H, 4*H)."""
    made = []
    for name, others, parts in found:
        if len(parts) not in (2, 3, 4, 6):
            continue
        per = len(parts) // (2 if len(parts) > 3 else 1)
        if all(x.ndim == 2 and x.shape[1] == 4 * x.shape[0] for x in parts[1::per]):
            kind = "LSTM" if len(parts) < 4 else "Bidirectional"
            layer = Layer(name, kind, read=partial(_arrays, parts, name), aliases=others, ordered=False)
            layer.before, layer.version = before, 2 if before else 3
            made.append(layer)
    return made


def _search(group: Any, path: tuple[str, ...], found: list[Any], count: list[int]) -> None:
    """Groups with a cell, by path; the layer's own name is an attribute of its variables'."""
    count[0] += 1
    if count[0] > _MOST_GROUPS or len(path) > _DEEPEST:
        raise ValueError("a .weights.h5 file must not have groups without end")
    if parts := _variables(group):
        own = _own_name(group)
        found.append(("/".join(path), () if own is None else (own,), parts))
        return
    for name in group:
        below = _at(group, name)
        if hasattr(below, "keys"):
            _search(below, (*path, name), found, count)


def _from_legacy(entry: Mapping[str, Any], weights: Any, outer: str | None, version: int, deep: int = 0) -> Layer:
    """A whole .h5 file has a group for each of the outermost model's layers, and names of weights in it."""
    config, kind = entry["config"], _kind(entry)
    layers = config if isinstance(config, list) else config.get("layers")
    name = str(entry["name"] if "name" in entry else kind if isinstance(config, list) else config.get("name", kind))
    if isinstance(layers, list) and deep < _DEEPEST:
        within = outer or (name if deep else None)
        inner = [_from_legacy(each, weights, within, version, deep + 1) for each in layers]
        return _model(layers, name, kind, inner)
    return Layer(
        name, kind, config, lambda: _arrays(_legacy(_at(weights, outer or name), name if outer else ""), name),
        version=version,
    )  # fmt: skip


def _legacy_layer(group: Any) -> list[Any]:
    """The datasets of a layer that is not known to be one: a model inside the model has its layers' together."""
    names = _texts(group, "weight_names")
    sides = {part for each in names for part in each.split("/") if part.startswith(_SIDES)}
    return [] if len(names) > 3 and not sides else _legacy(group, "")


def _legacy(group: Any, within: str) -> list[Any]:
    """A layer's datasets, forward before backward: Keras puts what is not trained last."""
    names = _texts(group, "weight_names")
    if within:
        names = [each for each in names if within in each.split("/")[:-1]]
    sides = [[n for n in names if any(part.startswith(side) for part in n.split("/"))] for side in _SIDES]
    if len(sides[0]) == len(sides[1]) and len(names) == 2 * len(sides[0]):
        names = sides[0] + sides[1]
    return [_at(group, *each.split("/")) for each in names]


def _texts(group: Any, name: str) -> list[str]:
    """An attribute of texts, which Keras cuts into name0, name1, ... where they are many."""
    parts = (
        [name]
        if name in group.attrs
        else [f"{name}{k}" for k in range(len(group.attrs)) if f"{name}{k}" in group.attrs]
    )
    given = [each for part in parts for each in group.attrs[part]]
    return [each.decode() if isinstance(each, bytes) else str(each) for each in given]


# HDF5


def _at(group: Any, *names: str) -> Any:
    """What is under these names in the file itself, None where nothing is; links to other files are not followed."""
    import h5py

    for name in names:
        if not isinstance(group, h5py.Group) or name in ("", ".", "..") or "/" in name:
            return None
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return None
        group = group.get(name)
    return group


def _arrays(found: list[Any], name: str) -> list[Array]:
    return [_array(data, name) for data in found]


def _array(data: Any, name: str) -> Array:
    """A dataset's values, where its claims fit the file's size."""
    import h5py

    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"weights of layer {name!r} must be in the file, one is missing")
    brain = data.dtype == "V2" and data.attrs.get("dtype") == "bfloat16"
    if data.is_virtual or data.external or not (brain or data.dtype.kind == "f") or data.ndim > 2:
        raise ValueError(f"weights of layer {name!r} must be floats of one or two axes, and in the file itself")
    stored = data.id.get_storage_size()
    filters = data.id.get_create_plist().get_nfilters()
    if data.nbytes > stored * (_DEFLATE if filters else 1) or stored > data.file.id.get_filesize():
        raise ValueError(f"weights of layer {name!r} must be in the file whole, got {stored} of {data.nbytes} bytes")
    chunk = math.prod(data.chunks or ()) * data.dtype.itemsize  # the library allocates a whole one to decompress it
    if data.nbytes and chunk > max(data.nbytes, _CHUNK):
        raise ValueError(f"weights of layer {name!r} must be in chunks that fit them, got chunks of {chunk} bytes")
    _memory.check(2 * data.nbytes, "weights of layer {!r} of shape {}", name, data.shape)
    made: Array = data[()]
    return (made.view(np.uint16).astype(np.uint32) << 16).view(np.float32) if brain else made
