"""Real requests against the server, on any free port."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime import mjpeg
from maskrt.runtime.mjpeg import BUFFERED, SPARE, MjpegSink

FRAME = np.full((48, 64, 3), 90, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)  # 300 KB as JPEG


@pytest.fixture
def sink():
    with MjpegSink(port=0, clients=2) as sink:
        yield sink


class Client:
    """A browser: asks for something and takes parts of the stream one by one."""

    def __init__(self, sink, path="/stream.mjpg", method="GET", host="localhost"):
        self.socket = socket.create_connection((sink.host, sink.port), timeout=10)
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")

    def head(self):
        """The status and the headers."""
        status = int(self.file.readline().split()[1])
        return status, http.client.parse_headers(self.file)

    def part(self):
        """The next picture; None at the end."""
        line = self.file.readline()
        if not line:
            return None
        assert line == b"--frame\r\n"
        headers = http.client.parse_headers(self.file)
        assert headers["Content-Type"] == "image/jpeg"
        content = self.file.read(int(headers["Content-Length"]))
        assert self.file.read(2) == b"\r\n"
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)

    def close(self):
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def client(*arguments, **more):
    one = Client(*arguments, **more)
    try:
        yield one
    finally:
        one.close()


def get(sink, path):
    with client(sink, path) as one:
        status, headers = one.head()
        return status, headers, one.file.read()


@contextlib.contextmanager
def writing(sink, frame=FRAME, pause=0.005):
    """Writes frames all the time; gives the list of how long each took."""
    end, times = threading.Event(), []

    def write():
        while not end.wait(pause):
            started = time.monotonic()
            sink.write(frame, "")
            times.append(time.monotonic() - started)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield times
    finally:
        end.set()
        thread.join()


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def test_the_page_and_a_picture(sink):
    sink.write(FRAME, "a")
    with urllib.request.urlopen(sink.url, timeout=5) as page:
        assert page.headers["Content-Type"].startswith("text/html")
        assert b'src="/stream.mjpg"' in page.read()
    with urllib.request.urlopen(sink.url + "snapshot.jpg", timeout=5) as page:
        assert page.headers["Content-Type"] == "image/jpeg"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        picture = cv2.imdecode(np.frombuffer(page.read(), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(picture.astype(int) - FRAME).max() <= 3


def test_by_default_it_is_for_this_machine_only():
    assert MjpegSink.__init__.__defaults__[0] == "127.0.0.1"
    with MjpegSink(port=0) as sink:
        assert sink._server.server_address[0] == "127.0.0.1"
        assert sink.url == f"http://127.0.0.1:{sink.port}/"


def test_a_stream_gives_every_new_frame(sink):
    with client(sink) as one:
        sink.write(FRAME, "")
        status, headers = one.head()
        assert (status, headers["Content-Type"]) == (
            200,
            "multipart/x-mixed-replace; boundary=frame",
        )
        assert one.part().mean() == pytest.approx(90, abs=2)
        for value in (10, 200, 60):
            sink.write(np.full_like(FRAME, value), "")
            assert one.part().mean() == pytest.approx(value, abs=2)


def test_opencv_reads_it(sink):
    with writing(sink):
        video = cv2.VideoCapture(sink.url + "stream.mjpg")
        ok, frame = video.read()
        video.release()
    assert ok
    assert frame.shape == FRAME.shape


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/.",
        "/..",
        "/stream.mjpg/",
        "/stream.mjpg/../../etc/passwd",
        "/snapshot.jpg?x",
        "/snapshot.jpg%00",
        "/STREAM.MJPG",
        "etc/passwd",
        "http://localhost/etc/passwd",
        "/<script>",
    ],
)
def test_there_is_nothing_else(sink, path):
    sink.write(FRAME, "")
    status, _, content = get(sink, path)
    assert status == 404
    assert b"root:" not in content
    assert b"<script>" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"])
def test_other_methods(sink, method):
    with client(sink, "/", method) as one:
        assert one.head()[0] == 501


@pytest.mark.parametrize("path", ["/", "/snapshot.jpg", "/stream.mjpg"])
def test_head(sink, path):
    sink.write(FRAME, "")
    with client(sink, path, "HEAD") as one:
        assert one.head()[0] == 200
        assert one.file.read() == b""
    with client(sink, "/none", "HEAD") as one:
        assert one.head()[0] == 404


@pytest.mark.parametrize("line", [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\x00" * 9 + b"\r\n\r\n"])
def test_what_is_no_request(sink, line):
    with socket.create_connection((sink.host, sink.port), timeout=5) as connection:
        connection.sendall(line)
        answer = connection.makefile("rb").read()
    assert b"200" not in answer.split(b"\n")[0]
    assert get(sink, "/")[0] == 200


def test_names_of_other_sites_are_refused(sink):
    """A site whose name leads to this machine must not read the pictures."""
    for host, status in {
        "localhost": 200,
        "LOCALHOST:8080": 200,
        "127.0.0.1:8080": 200,
        "[::1]:8080": 200,
        "evil.example": 403,
        "localhost.evil.example:8080": 403,
    }.items():
        with client(sink, "/", host=host) as one:
            assert one.head()[0] == status, host


def test_served_to_the_network_any_name_is_right():
    with MjpegSink("0.0.0.0", 0) as sink:
        assert sink.url == f"http://{socket.gethostname()}:{sink.port}/"
        with client(sink, "/", host="jetson.local") as one:
            assert one.head()[0] == 200


def test_too_many_clients(sink):
    with contextlib.ExitStack() as stack, writing(sink):
        first, second = (stack.enter_context(client(sink)) for _ in range(2))
        assert [one.head()[0] for one in (first, second)] == [200, 200]
        assert get(sink, "/stream.mjpg")[0] == 503
        assert get(sink, "/snapshot.jpg")[0] == 200  # is no stream
        first.close()
        until(lambda: head_of_a_stream(sink) == 200)
        assert second.part() is not None


def head_of_a_stream(sink):
    with client(sink) as one:
        return one.head()[0]


def test_connections_are_limited_whatever_they_ask_for(sink):
    with contextlib.ExitStack() as stack:
        for _ in range(2 + SPARE):
            address = (sink.host, sink.port)
            stack.enter_context(socket.create_connection(address, timeout=5))  # says nothing
        until(lambda: len(sink._server._open) == 2 + SPARE)
        before = threading.active_count()
        with socket.create_connection(address, timeout=5) as more:
            assert more.recv(1) == b""
        assert threading.active_count() == before
    until(lambda: get_status(sink) == 200)


def get_status(sink):
    with contextlib.suppress(OSError, IndexError):
        return get(sink, "/")[0]


def test_a_client_that_never_reads_holds_nobody_up(sink):
    with client(sink) as lazy, writing(sink, NOISE, 0.002) as times, client(sink) as eager:
        assert eager.head()[0] == 200
        for _ in range(15):
            assert eager.part() is not None
        assert len(times) > 15
        assert max(times) < 0.5
        assert sink._server.streams._value == 0  # the lazy one is still there
        lazy.close()
        until(lambda: sink._server.streams._value == 1)


def test_a_client_that_never_reads_is_given_up(monkeypatch):
    monkeypatch.setattr(mjpeg._Handler, "timeout", 0.1)
    with (
        MjpegSink(port=0, clients=1) as sink,
        writing(sink, NOISE, 0.002),
        client(sink),
    ):
        until(lambda: sink._server.streams._value == 0)
        until(lambda: sink._server.streams._value == 1)


def test_a_client_that_is_too_slow_gets_the_newest_frame(sink):
    def shade(i):
        frame = NOISE.copy()
        frame[:8] = i
        return frame

    with client(sink) as slow:
        sink.write(shade(0), "")
        until(lambda: sink._server.streams._value == 1)
        (connection,) = sink._server._open
        # Linux counts twice what is asked for
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * BUFFERED
        for i in range(200):  # 60 MB: more than any buffer
            sink.write(shade(i), "")
            time.sleep(0.001)
        sink.write(shade(255), "")
        slow.head()
        seen = []
        while not seen or seen[-1] < 250:
            seen.append(slow.part()[:4].mean())
        assert len(seen) < 60
        assert seen == sorted(seen)


def test_each_frame_is_encoded_once_and_only_for_somebody(sink, monkeypatch):
    encoded, encode = [], cv2.imencode

    def count(*arguments):
        encoded.append(arguments)
        return encode(*arguments)

    monkeypatch.setattr(cv2, "imencode", count)
    for _ in range(5):
        sink.write(FRAME, "")
    time.sleep(0.02)
    assert encoded == []
    with client(sink) as one, client(sink) as two:
        for both in (one, two):
            both.head()
            both.part()
        assert len(encoded) == 1
        for number in range(2, 6):
            sink.write(FRAME, "")
            assert one.part().shape == two.part().shape == FRAME.shape
            assert len(encoded) == number
    assert encoded[0][2] == [cv2.IMWRITE_JPEG_QUALITY, 80]


def test_a_stream_that_stands_still_is_repeated(sink, monkeypatch):
    monkeypatch.setattr(mjpeg, "REPEAT", 0.02)
    sink.write(FRAME, "")
    with client(sink) as one:
        one.head()
        for _ in range(3):
            assert one.part() is not None
    until(lambda: sink._server.streams._value == 2)  # that it is gone shows without a new frame


def test_frames_per_second_are_limited():
    with MjpegSink(port=0, fps=50) as sink, writing(sink, pause=0.001), client(sink) as one:
        one.head()
        one.part()
        started = time.monotonic()
        for _ in range(6):
            one.part()
        assert time.monotonic() - started >= 0.09


def test_no_frame_yet(sink, monkeypatch):
    monkeypatch.setattr(mjpeg, "REPEAT", 0.02)
    assert get(sink, "/snapshot.jpg")[0] == 503
    with client(sink) as one:
        assert one.head()[0] == 200
        sink.write(FRAME, "")
        assert one.part() is not None


def test_closing_ends_clients_and_threads_and_frees_the_port(sink):
    before = threading.active_count()
    with client(sink) as reading, client(sink) as lazy, client(sink, "/snapshot.jpg") as waiting:
        assert reading.head()[0] == lazy.head()[0] == 200
        with writing(sink, NOISE, 0.002):
            assert reading.part() is not None
            time.sleep(0.05)  # the lazy one's buffers fill
        started = time.monotonic()
        sink.close()
        assert time.monotonic() - started < 2
        assert threading.active_count() <= before - 1  # of the server itself
        with contextlib.suppress(ConnectionError, cv2.error):
            while reading.part() is not None:
                pass
        waiting.close()
    sink.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(sink.url, timeout=2)
    with MjpegSink(port=sink.port) as again:
        assert again.port == sink.port


def test_a_port_that_is_taken(sink):
    message = rf"127\.0\.0\.1:{sink.port} cannot be listened on: .*in use; name another port"
    with pytest.raises(MaskrtError, match=message):
        MjpegSink(port=sink.port)


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70])
def test_addresses_of_others(host):
    with pytest.raises(MaskrtError, match="cannot be listened on"):
        MjpegSink(host, 0)


def test_ipv6():
    try:
        sink = MjpegSink("::1", 0)
    except MaskrtError:
        pytest.skip("no IPv6 here")
    with sink:
        assert sink.url == f"http://[::1]:{sink.port}/"
        assert get(sink, "/")[0] == 200


@pytest.mark.parametrize(
    "arguments",
    [{"port": -1}, {"port": 65536}, {"clients": 0}, {"quality": 0}, {"quality": 101}, {"fps": 0}],
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match="found"):
        MjpegSink(**{"port": 0, **arguments})
