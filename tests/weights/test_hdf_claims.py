"""Texts of HDF5 files whose references are damaged, which the HDF5 library itself would follow for gigabytes."""

import io
import struct

import numpy as np
import pytest

from fastcell.weights.hdf_claims import check
from tests.helpers.imported import refuses

h5py = pytest.importorskip("h5py", reason="it writes the files that are damaged here")


def written(libver=None, many=3):
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as made:
        made.attrs["model_config"] = "{}" * 50
        made.attrs["empty"] = ""
        for k in range(many):
            group = made.create_group(f"layer_{k}")
            group.attrs["weight_names"] = [f"layer_{k}/kernel", "bias"]
            group.attrs["fixed"] = np.array([b"kernel"])
            group["kernel"] = np.random.default_rng(k).normal(size=(20, 30)).astype("f4")
    return file.getvalue()


@pytest.mark.parametrize("libver", [None, "v108", "latest"])
@pytest.mark.parametrize("many", [0, 3, 40])
def test_sound_files_pass(libver, many):
    data = written(libver, many)
    check(data)
    check(memoryview(data).tobytes())


def test_every_damaged_reference_is_found():
    data = written()
    heap = data.index(b"GCOL")
    reference = data.index(struct.pack("<IQI", 100, heap, 1))
    for at, told in (
        (2, "a text must be in its heap, got one of"),
        (4, "a heap of texts must start at"),
        (12, "its heap"),
    ):
        changed = bytearray(data)
        changed[reference + at] ^= 0x40
        refuses(lambda changed=changed: check(bytes(changed)), ValueError, told)
    for at, told in ((0, "a heap of texts must start"), (8, "must fit its size"), (15, "must fit its size")):
        changed = bytearray(data)
        changed[heap + at] ^= 0x10
        refuses(lambda changed=changed: check(bytes(changed)), ValueError, told)
    # An object of no size, in the place of what is free, is where the library goes round for ever.
    changed = bytearray(data)
    struct.pack_into("<HHIQ", changed, heap + 16, 0, 0, 0, 0)
    refuses(lambda: check(bytes(changed)), ValueError, "the heap of texts at", "must fit its size and the file")


def test_a_shape_is_held_to_the_file():
    data = bytearray(written(many=1))
    at = data.index(b"weight_names") + 16 + 24
    assert data[at : at + 2] == b"\x01\x01"  # a dataspace of one axis
    struct.pack_into("<Q", data, at + 8, 2**60)
    refuses(
        lambda: check(bytes(data)), ValueError, "an attribute of texts must be in the file whole, got shape (1152921"
    )


def test_texts_in_datasets_are_refused_since_keras_writes_none():
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["words"] = ["one", "two"]
    refuses(lambda: check(file.getvalue()), ValueError, "a text must be an attribute, got one at")
