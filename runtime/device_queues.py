"""The streams of a device session: one for uploads, one for work, one for downloads.

So a frame is uploaded, and the results of another one are downloaded, while a third is worked on.
"""

from __future__ import annotations

import contextlib

from maskrt.runtime.device import Device, DeviceError


class Queues:
    """A device and three of its streams.

    Args:
        device: is closed with this.

    Attributes:
        device: the device.
        uploads: handle of the stream for copies to the device.
        compute: of the one for operators and engines.
        downloads: of the one for copies to the host.

    Raises:
        DeviceError: the device has no more streams; it is closed then.
    """

    device: Device
    uploads: int
    compute: int
    downloads: int

    def __init__(self, device: Device) -> None:
        self.device = device
        self._streams: list[int] = []
        try:
            with device.active():
                for _ in range(3):
                    self._streams.append(device.new_stream())
        except BaseException:
            self.close()
            raise
        self.uploads, self.compute, self.downloads = self._streams

    def idle(self) -> None:
        """Waits until all that is queued is done.

        Raises:
            DeviceError: something of it has failed; all the same nothing is queued any more.
        """
        problem: DeviceError | None = None
        for stream in self._streams:
            try:
                self.device.wait(stream)
            except DeviceError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Gives streams and device back. A device that is lost has nothing more to give."""
        with contextlib.suppress(DeviceError), self.device.active():
            for stream in self._streams:
                with contextlib.suppress(DeviceError):
                    self.device.free_stream(stream)
        self._streams = []
        with contextlib.suppress(DeviceError):
            self.device.close()
