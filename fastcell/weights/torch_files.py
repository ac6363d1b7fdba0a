"""PyTorch's files, opened so that nothing in them is run as Python."""

import os
import pickle
import re
import struct
import warnings
import zipfile
from typing import Any

from fastcell import _memory

_DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError,
    RecursionError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def opened(path: Any) -> Any:
    """The ScriptModule of a TorchScript file, or what torch.save wrote, of tensors and plain containers alone."""
    import torch

    jit: Any = torch.jit
    with open(path, "rb"):
        pass  # Python's errors say more
    members = _members(path)
    # PyTorch packs nothing, but reads what somebody else has packed
    size = sum(member.file_size for member in members) or os.path.getsize(path)
    _memory.check(2 * size, "tensors in the file {}", path)
    try:
        with warnings.catch_warnings():
            # PyTorch has deprecated all of torch.jit; files of it stay.
            warnings.simplefilter("ignore", DeprecationWarning)
            if any(member.filename.endswith("/constants.pkl") for member in members):
                return jit.load(os.fspath(path), map_location="cpu")
            # PyTorch may take a damaged one for a script's: the error that follows says so, too.
            warnings.filterwarnings("ignore", "'torch.load' received a zip file", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        refused = re.search(r"(?:GLOBAL |class )([\w.]+)", str(error)) if "eights only load" in str(error) else None
        if refused:
            raise ValueError(
                f"source must be a file of tensors, dicts and lists alone, got {path}, which holds {refused[1]}: that "
                "could run code. Where you trust it, give from_torch what torch.load(path, weights_only=False) returns"
            ) from error
        told = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"source must be a file of torch.save or torch.jit.save, got {path} ({told})") from error


def _members(path: Any) -> list[zipfile.ZipInfo]:
    """What a zip claims to hold, nothing where the file is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except _DAMAGE:  # PyTorch says what is wrong
        return []
