"""What an HDF5 file claims of its texts, checked before the HDF5 library believes it.

The library allocates what a text's reference says, up to 4 GB, and can follow a damaged heap of texts without end. The
texts that matter are attributes, so the messages that hold such references are found by their datatype (a sequence of
variable length that is a string, in 16 bytes) and each reference is held to its heap. Source: HDF5 File Format
Specification 3.0, III.E (global heap), IV.A.2.b, d and m (dataspace, datatype and attribute messages).
"""

import re
import struct
from collections.abc import Iterator
from typing import Any

from fastcell._checks import round_up

# The datatype message of a text: class 9, and a base, of class 0 or 3, of one byte.
# Its size, 16, comes first in the pattern, since a search for fixed bytes is several times faster.
_TEXT = re.compile(
    rb"(?s)\x10\x00\x00\x00(?<=[\x19\x29\x39]\x01..\x10\x00\x00\x00)[\x10\x20\x30\x13\x23\x33]...\x01\x00\x00\x00"
)
_LONGEST_NAME = 256


def check(data: Any) -> None:
    """Raise ValueError where a text's reference doesn't fit the file; `data` are its bytes or a map of them."""
    heaps: dict[int, dict[int, int]] = {}
    for found in _TEXT.finditer(data):
        for length, address, index in _references(data, *_attribute(data, found.start() - 4)):
            if not address and not length:
                continue
            if address not in heaps:
                heaps[address] = _heap(data, address)
            if length > heaps[address].get(index, -1):
                raise ValueError(f"a text must be in its heap, got one of {length} bytes that is not")


def _attribute(data: Any, start: int) -> tuple[int, int]:
    """Where dataspace and values are in the attribute message around this datatype; Keras has texts nowhere else."""
    for size in range(1, _LONGEST_NAME):
        for version, before, even in ((1, 8, 8), (2, 8, 1), (3, 9, 1)):
            head = start - before - round_up(size, even)
            if head < 0 or data[head] != version:
                continue
            named, kind, space = struct.unpack("<HHH", data[head + 2 : head + 8])
            if named == size and kind in (16, 20) and space <= 40:
                at = start + round_up(kind, even)
                return at, at + round_up(space, even)
    raise ValueError(f"a text must be an attribute, got one at {start} that is none")


def _references(data: Any, space: int, values: int) -> Iterator[tuple[int, int, int]]:
    """Length, heap's address and index there of each text."""
    version, rank = data[space : space + 2]
    sizes = (
        struct.unpack("<Q", data[space + (8 if version == 1 else 4) : space + (16 if version == 1 else 12)])
        if rank == 1
        else ()
    )
    many = sizes[0] if sizes else 1
    if version not in (1, 2) or rank > 1 or values + 16 * many > len(data):
        raise ValueError(f"an attribute of texts must be in the file whole, got shape {sizes}")
    for k in range(many):
        yield struct.unpack("<IQI", data[values + 16 * k : values + 16 * (k + 1)])


def _heap(data: Any, address: int) -> dict[int, int]:
    """The sizes of a heap's objects; what is free comes last, as object 0."""
    if address + 16 > len(data) or data[address : address + 5] != b"GCOL\x01":
        raise ValueError(f"a heap of texts must start at {address}, where there is none")
    at, end = address + 16, address + struct.unpack("<Q", data[address + 8 : address + 16])[0]
    found: dict[int, int] = {}
    while at + 16 <= end <= len(data):
        index, _, _, size = struct.unpack("<HHIQ", data[at : at + 16])
        at += size if index == 0 else 16 + round_up(size, 8)
        if index == 0:
            break
        found[index] = size
    if not (at <= end <= len(data)) or (index == 0 and at != end):
        raise ValueError(f"the heap of texts at {address} must fit its size and the file")
    return found
