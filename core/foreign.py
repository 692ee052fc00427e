"""What a file that is not what it should be seems to be instead, for messages."""

from __future__ import annotations

from pathlib import Path

from maskrt.errors import ModelFileError

_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself (run  git lfs pull)"),
    (b"PK", "is a zip archive (torch's .pt and .pth files are, too)"),
    (b"\x80\x02", "is a pickle, such as an older torch checkpoint"),
    (b"\x89HDF", "is an HDF5 file, such as Keras writes"),
    (b"\x1f\x8b", "is compressed with gzip (unpack it first)"),
    (b"\x7fELF", "is a program or library"),
    (b"\x89PNG", "is a picture"),
    (b"\xff\xd8\xff", "is a picture"),
    (b"ptrt", "is a TensorRT engine"),
    (b"ftrt", "is a TensorRT engine"),
    (b"vtrt", "is a TensorRT-RTX engine"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml")


def first_bytes(file: Path) -> bytes:
    """The beginning of a file, at most 512 bytes.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(512)
    except OSError as error:
        raise ModelFileError(
            f"{file} cannot be read ({error.strerror}): check its rights"
        ) from None


def described(file: Path) -> str:
    """What the file seems to be, as the rest of a sentence that begins with its name."""
    start = first_bytes(file)
    text = start.lstrip().lower()
    what = next((what for mark, what in _MARKS if start.startswith(mark)), "")
    if what:
        return what
    if text.startswith(_PAGES):
        return "is an HTML or XML page (a download gave a page in place of the file)"
    if text.startswith((b"{", b"[")):
        return "is JSON text"
    if not start.strip(b"\0"):
        return "begins with zeros (an interrupted copy?)"
    if start[:1] == b"\x08" and start[1:2] < b"\x20":  # ModelProto.ir_version
        return "is an ONNX file"
    return "is a file of an unknown kind"
