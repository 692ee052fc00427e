"""Results that are on their way."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrt.spec import ModelSpec

Arrays = dict[str, NDArray[Any]]


class Pending(Protocol):
    """A batch of frames that a session works on."""

    def result(self) -> Arrays:
        """The outputs of ``spec.outputs`` by name, once they are there; asked for once.

        Each has as many slots as the fullest frame needs, or more; those beyond a frame's
        ``num_detections`` mean nothing. Masks are float32, or uint8: 255 times the probability.

        Raises:
            DeviceError: the device could not do the work.
        """


class Done:
    """A batch that is done."""

    def __init__(self, outputs: Arrays) -> None:
        self._outputs = outputs

    def result(self) -> Arrays:
        """The outputs."""
        return self._outputs


def padded(outputs: Arrays, spec: ModelSpec) -> Arrays:
    """Outputs with all slots of ``spec.outputs``, float32 masks, zeros where no detection is.

    Args:
        outputs: of ``Pending.result``.
        spec: of the model.
    """
    count = outputs["num_detections"]
    whole: Arrays = {"num_detections": count}
    for output in spec.outputs[1:]:
        sides = [int(side) for side in output.shape[1:]]
        array = np.zeros((len(count), *sides), output.dtype)
        for i, real in enumerate(count):
            found = outputs[output.name][i, :real]
            array[i, :real] = as_probabilities(found) if output.name == "masks" else found
        whole[output.name] = array
    return whole


def as_probabilities(masks: NDArray[Any]) -> NDArray[np.float32]:
    """Masks of ``Pending.result`` from 0 to 1; a copy."""
    if masks.dtype == np.uint8:
        return np.multiply(masks, np.float32(1 / 255), dtype=np.float32)
    return masks.astype(np.float32)
