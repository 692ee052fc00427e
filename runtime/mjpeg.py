"""Frames over HTTP as motion JPEG, for machines without a screen: any browser shows them."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import cv2

from maskrt.errors import MaskrtError
from maskrt.runtime.frames import Frame
from maskrt.runtime.sinks import Sink

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
BOUNDARY = "frame"
TIMEOUT = 10.0
"""Seconds after which a client that neither reads nor writes is given up."""
REPEAT = 5.0
"""Seconds after which a frame is sent again: only that shows whether a client is still there."""
SPARE = 8
"""Connections beside the streams, for the page and single pictures."""
BUFFERED = 1 << 18
"""Bytes that wait in the kernel for a slow client, at most; they are what its picture is behind."""
_PAGE = b"""\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>maskrt</title>
<style>body{margin:0;background:#111}img{display:block;max-width:100vw;max-height:100vh;\
margin:auto}</style>
<img src="/stream.mjpg" alt="annotated frames">
</html>
"""
_log = logging.getLogger("maskrt")


class MjpegSink(Sink):
    """Serves the newest frame over HTTP, to a few clients at a time.

    ``/`` is a page, ``/stream.mjpg`` a stream, ``/snapshot.jpg`` a single picture; there is nothing
    else, and nothing is read from disk. There is neither a password nor encryption: who can reach
    the port sees the frames.

    Frames are encoded by the threads of the clients, once for all of them: writing costs nothing
    while nobody watches, and waits for nobody. A client that is too slow misses frames.

    Args:
        host: whose address to listen on; the default can be reached from this machine only,
            ``"0.0.0.0"`` from the whole network.
        port: 0 takes any that is free.
        clients: streams at a time; more get the status 503.
        quality: of the JPEG pictures, 1 to 100.
        fps: frames per second that a client gets at most; None: all.

    Raises:
        MaskrtError: the address cannot be listened on.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        clients: int = 4,
        quality: int = 80,
        fps: float | None = None,
    ) -> None:
        for name, value, allowed in (
            ("port", port, range(65536)),
            ("clients", clients, range(1, 1001)),
            ("quality", quality, range(1, 101)),
        ):
            if value not in allowed:
                raise ValueError(
                    f"{name}: found {value!r}, expected {allowed.start} to {allowed.stop - 1}"
                )
        if fps is not None and not fps > 0:
            raise ValueError(f"fps: found {fps!r}, expected more than 0")
        self._newest = _Newest(quality)
        try:
            self._server = _Server(host, port, self._newest, clients, 1 / fps if fps else 0.0)
        except (OSError, UnicodeError) as error:  # the latter: no name of a host
            reason = getattr(error, "strerror", None) or error
            raise MaskrtError(
                f"{_address(host, port)} cannot be listened on: {reason}; name another port, or "
                "another address of this machine"
            ) from None
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="maskrt, HTTP", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Of the page, as seen from this machine, or, for all addresses, with this machine's name.

        Without a name in the network's DNS, use its address.
        """
        everywhere = self.host in ("", "0.0.0.0", "::")
        return f"http://{_address(socket.gethostname() if everywhere else self.host, self.port)}/"

    def write(self, frame: Frame, name: str) -> None:
        """Shows a frame, which is not to be changed afterwards."""
        self._newest.put(frame)

    def close(self, *, complete: bool = True) -> None:
        """Ends all streams and frees the port. Closing twice is fine."""
        if self._thread.is_alive():
            self._newest.close()
            self._server.shutdown()
            self._thread.join()
            self._server.end()


class _Newest:
    """The newest frame, which the first client that asks for it encodes."""

    def __init__(self, quality: int) -> None:
        self._quality = quality
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._number = 0
        self.closed = False
        self._encoding = threading.Lock()
        self._encoded = (0, b"")

    def put(self, frame: Frame) -> None:
        """Replaces the frame."""
        with self._changed:
            self._frame = frame
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """There will be no more frames."""
        with self._changed:
            self._frame = None
            self.closed = True
            self._changed.notify_all()

    def wait(self, after: int, seconds: float) -> tuple[int, bytes] | None:
        """The newest frame's number and JPEG; None: there is none.

        Args:
            after: the number of a frame that need not be given again.
            seconds: after which it is given again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._number > after, seconds)
            frame, number = self._frame, self._number
        if frame is None:
            return None
        with self._encoding:
            if self._encoded[0] < number:
                options = [cv2.IMWRITE_JPEG_QUALITY, self._quality]
                self._encoded = (number, cv2.imencode(".jpg", frame, options)[1].tobytes())
            return self._encoded

    def pause(self, seconds: float) -> None:
        """Waits, unless it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)


class _Server(socketserver.ThreadingTCPServer):
    # not ThreadingHTTPServer: it looks its own name up, which may take seconds
    allow_reuse_address = os.name == "posix"  # elsewhere it lets two programs share a port
    allow_reuse_port = False
    daemon_threads = True
    request_queue_size = 16

    def __init__(
        self, host: str, port: int, newest: _Newest, clients: int, interval: float
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.newest = newest
        self.interval = interval
        self.local = host in LOCAL_HOSTS
        self.streams = threading.BoundedSemaphore(clients)
        self._most = clients + SPARE
        self._open: dict[Any, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection; there is a limit, and they are kept to be ended."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="maskrt, HTTP client",
            daemon=True,
        )
        with self._lock:
            taken = len(self._open) < self._most
            if taken:
                self._open[request] = thread
        if taken:
            thread.start()
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        super().shutdown_request(request)
        with self._lock:
            self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs; clients that vanish are none of the user's business."""
        gone = isinstance(sys.exc_info()[1], OSError)
        _log.log(
            logging.DEBUG if gone else logging.ERROR, "client %s", client_address, exc_info=True
        )

    def end(self) -> None:
        """Closes the port and all connections, and waits for their threads."""
        self.server_close()
        with self._lock:
            left = dict(self._open)
        for connection in left:
            with contextlib.suppress(OSError):  # wakes a thread that waits for it
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(TIMEOUT)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT
    disable_nagle_algorithm = True
    server_version, sys_version = "maskrt", ""

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFERED)
        super().setup()

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s: " + format, self.client_address[0], *args)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        # pages of other sites must not show the pictures
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def _answer(self, *, body: bool) -> None:
        if not self._from_here():
            self.send_error(403, "ask for this machine by the name localhost")
        elif self.path == "/":
            self._send("text/html; charset=utf-8", _PAGE, body)
        elif self.path == "/snapshot.jpg":
            newest = self.server.newest.wait(0, REPEAT)
            if newest is None:
                self.send_error(503, "no frame yet")
            else:
                self._send("image/jpeg", newest[1], body)
        elif self.path == "/stream.mjpg":
            self._stream(body)
        else:
            self.send_error(404)

    def _from_here(self) -> bool:
        # names of other sites that were made to lead to this machine (DNS rebinding)
        host = self.headers.get("Host", "localhost").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return not self.server.local or name in LOCAL_HOSTS

    def _send(self, kind: str, content: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _stream(self, body: bool) -> None:
        if not self.server.streams.acquire(blocking=False):
            self.send_error(503, "too many clients")
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
            self.end_headers()
            number = 0
            while body:
                newest = self.server.newest.wait(number, REPEAT)
                if newest is None:
                    if self.server.newest.closed:
                        return
                    continue
                number, picture = newest
                sent = time.monotonic()
                self.wfile.write(
                    b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
                    % (BOUNDARY.encode(), len(picture), picture)
                )
                self.server.newest.pause(sent + self.server.interval - time.monotonic())
        finally:
            self.server.streams.release()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
