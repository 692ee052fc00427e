"""A detector in a program that has its own pycuda context, memory and streams.

    python -m maskrt.examples.within_pycuda MODEL.engine [SOURCE]

The detector uses the context that is current when it is made, and gives it back as it was: the
program's own work on the GPU goes on beside it, in the same context, on other streams.
"""

from __future__ import annotations

import sys

import numpy as np
import pycuda.driver as cuda

from maskrt.runtime import Detector, open_device, open_source


def main(model: str, address: str = "synthetic://640x480?frames=20") -> None:
    """Detects between the program's own work."""
    cuda.init()
    context = cuda.Device(0).make_context()
    try:
        stream = cuda.Stream()
        totals = cuda.pagelocked_zeros(2, np.float32)
        memory = cuda.mem_alloc(totals.nbytes)
        # the device of the current context; without one, it would be the first GPU's
        with Detector(model, device=open_device()) as detector, open_source(address) as source:
            for frame in source:
                found = detector.bgr(frame)
                totals += (1, len(found))
                cuda.memcpy_htod_async(memory, totals, stream)  # the program's own work
                stream.synchronize()
        totals[:] = 0
        cuda.memcpy_dtoh(totals, memory)
        print(f"{totals[0]:.0f} frames, {totals[1]:.0f} detections")
        memory.free()
        del stream, totals
    finally:
        context.pop()
        context.detach()


if __name__ == "__main__":
    main(*sys.argv[1:])
