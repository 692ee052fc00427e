"""Reading the pickles of detectron2's model zoo, without running what strangers wrote into them."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskrt.errors import ModelFileError

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = np.zeros(0).__reduce__()[0]
    _ALLOWED[f"{_core}.multiarray", "scalar"] = np.float32(0).__reduce__()[0]
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = np.zeros(1).__reduce_ex__(5)[0]


class _Unpickler(pickle.Unpickler):
    """Arrays, numbers, strings and tables only."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return found


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The weights of a ``.pkl`` of detectron2's zoo, by name.

    Raises:
        ModelFileError: the file is damaged, holds more than arrays, or is no detector's.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} is no pickle of arrays alone ({error}): expected a .pkl of detectron2's model "
            "zoo, or a .pth"
        ) from None
    except (EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError,
            ImportError, MemoryError, OverflowError) as error:  # fmt: skip
        raise ModelFileError(
            f"{path} cannot be read as a pickle (truncated?): {type(error).__name__}"
        ) from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        blobs = isinstance(content, dict) and "blobs" in content
        what = "weights of Detectron 1 or Caffe2" if blobs else f"a {type(content).__name__}"
        raise ModelFileError(
            f"{path} holds {what}, expected detectron2's: a table with 'model', names and arrays"
        )
    state = {}
    for name, value in model.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise ModelFileError(f"{path}: {name!r} holds a {type(value).__name__}, not an array")
        state[str(name)] = torch.from_numpy(np.array(value))
    return state
