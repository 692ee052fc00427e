"""Reads what a model file says about itself, without the library that would run it.

Only the few kilobytes that matter are looked at: an engine's are found by their mark, a bundle's
lie in its first entry, an ONNX file's among the top-level fields of its protobuf message. Nothing
is deserialised, so files from strangers and from other machines can be told apart safely.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from maskrt.artefact import MAGIC, MAX_NAME, ArtefactHead
from maskrt.errors import ModelFileError, SpecError
from maskrt.foreign import described, first_bytes
from maskrt.spec import METADATA_KEY, ModelSpec

ENGINES = (".engine", ".plan")
BUNDLES = (".bundle",)
SUFFIXES = (".onnx", *ENGINES, *BUNDLES)
"""Of the files that maskrt writes."""

MANIFEST = "manifest.json"  # the first entry of a bundle
_MAX_MANIFEST = 4 << 20
_MAX_SPEC = 4 << 20
_MAX_MARKS = 64  # an engine names its network once; more marks are somebody's game
_MAX_FIELDS = 100_000  # a model has a few dozen; reading more would take long
_BLOCK = 1 << 20
_SIZES = {1: 8, 5: 4}  # protobuf's fixed-width wire types
_METADATA_PROPS = 14  # ModelProto.metadata_props in onnx.proto

# what zipfile raises on damaged files: among others NotImplementedError for a compression method
# that it does not know, and RuntimeError for an encrypted entry
_ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
    OverflowError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_SPEC_ERRORS = (SpecError, OverflowError, RecursionError)
_AGAIN = "copy it again, or build it again with  maskrt build"


def read_head(path: str | os.PathLike[str]) -> ArtefactHead:
    """The head of an engine (``.engine``, ``.plan``) or a bundle (``.bundle``).

    Raises:
        ModelFileError: the file is missing, empty, truncated, foreign or of another version.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix in ENGINES:
        return _engine_head(file)
    if suffix in BUNDLES:
        return _bundle_head(file)
    _check_file(file)
    what = described(file)
    raise ModelFileError(
        f"{file} {what}: expected a file that  maskrt build  wrote (.engine, .plan or .bundle)"
    )


def read_spec(path: str | os.PathLike[str]) -> ModelSpec:
    """The spec of an ONNX file, an engine or a bundle.

    Raises:
        ModelFileError: the file is missing, empty, truncated, foreign or of another version.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix == ".onnx":
        return _onnx_spec(file)
    if suffix in (*ENGINES, *BUNDLES):
        return read_head(file).spec
    _check_file(file)
    raise ModelFileError(
        f"{file} {described(file)}: expected .onnx, .engine, .plan or .bundle; make one with  "
        "maskrt export"
    )


def bundle_entries(path: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """Names and sizes in bytes of a bundle's entries, in their order.

    Raises:
        ModelFileError: as ``read_head``.
    """
    file = Path(path)
    with opened_bundle(file) as archive:
        return [(entry.filename, entry.file_size) for entry in archive.infolist()]


def _engine_head(file: Path) -> ArtefactHead:
    error: Exception | None = None
    with _opened(file) as opened:
        for at in islice(_occurrences(opened, MAGIC.encode()), _MAX_MARKS):
            opened.seek(at)
            # the name is ASCII; what follows it in the plan is not, and is not looked at
            text = opened.read(MAX_NAME).decode("latin-1")
            try:
                return ArtefactHead.from_name(text)
            except _SPEC_ERRORS as problem:
                error = error or problem
    if error is not None:
        raise ModelFileError(f"{file}: {error} ({_AGAIN})") from None
    raise ModelFileError(
        f"{file} {described(file)}: no head of maskrt is in it, so it was not built by maskrt, or "
        "is truncated; build one with  maskrt build MODEL.onnx --target tensorrt -o "
        f"{file.name}"
    )


def _bundle_head(file: Path) -> ArtefactHead:
    with opened_bundle(file) as archive:
        text = read_entry(file, archive, MANIFEST, _MAX_MANIFEST)
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{file}: its {MANIFEST} is no readable JSON ({error}): {_AGAIN}"
        ) from None
    if not isinstance(plain, dict) or "head" not in plain:
        raise ModelFileError(
            f"{file}: its {MANIFEST} has no 'head', so it was not written by maskrt: {_AGAIN}"
        )
    try:
        return ArtefactHead.from_plain(plain["head"])
    except _SPEC_ERRORS as error:
        raise ModelFileError(f"{file}: {error} ({_AGAIN})") from None


def read_entry(file: Path, archive: zipfile.ZipFile, name: str, limit: int | None = None) -> bytes:
    """An entry's bytes, checked against the archive's checksum.

    Args:
        file: of the archive, for messages.
        archive: from ``opened_bundle``.
        name: of the entry.
        limit: bytes at most; None: those of the whole file.

    Raises:
        ModelFileError: the entry is missing or damaged, or claims more bytes than that: it would
            take all memory.
    """
    limit = file.stat().st_size if limit is None else limit
    try:
        size = archive.getinfo(name).file_size
        if size > limit:
            raise ValueError(f"it claims {size} bytes, expected at most {limit}")
        return archive.read(name)
    except (*_ZIP_ERRORS, KeyError) as error:
        raise ModelFileError(
            f"{file} is damaged, its {name} cannot be read ({error}): {_AGAIN}"
        ) from None


@contextlib.contextmanager
def opened_bundle(file: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, whose first entry is a manifest that is stored as it is."""
    _check_file(file)
    if not first_bytes(file).startswith(b"PK"):
        raise ModelFileError(
            f"{file} {described(file)}: expected a bundle (a zip archive), {_AGAIN}"
        )
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            entries = archive.infolist()
        except _ZIP_ERRORS as error:
            raise ModelFileError(
                f"{file} is a truncated or damaged archive ({error}): {_AGAIN}"
            ) from None
        first = entries[0] if entries else None
        if first is None or first.filename != MANIFEST or first.header_offset != 0:
            raise ModelFileError(
                f"{file} {_archive_kind(entries)}: expected a bundle, whose first entry is "
                f"{MANIFEST}; {_AGAIN}"
            )
        if first.compress_type != zipfile.ZIP_STORED:
            raise ModelFileError(
                f"{file}: its {MANIFEST} is compressed, so the archive was packed again by another "
                f"program; {_AGAIN}"
            )
        yield archive


def _archive_kind(entries: list[zipfile.ZipInfo]) -> str:
    names = [entry.filename for entry in entries]
    if any(name.endswith("data.pkl") for name in names):
        return "holds a torch checkpoint (.pt, .pth); give it to  maskrt export --weights"
    shown = ", ".join(names[:3]) or "nothing"
    return f"is a zip archive that holds {shown}{', …' if len(names) > 3 else ''}"


def _onnx_spec(file: Path) -> ModelSpec:
    text: bytes | None = None
    with _opened(file) as opened:
        try:
            for number, start, end in _fields(opened, 0, file.stat().st_size):
                if number == _METADATA_PROPS:
                    text = _entry(opened, start, end) or text
        except _NoProtobuf as error:
            raise ModelFileError(
                f"{file} {described(file)}; expected a whole ONNX file, this one is damaged, "
                f"incomplete or foreign ({error}): copy or export it again"
            ) from None
    if text is None:
        raise ModelFileError(
            f"{file} {described(file)} without '{METADATA_KEY}' in its metadata, so it was "
            "not made by maskrt: export the model with  maskrt export"
        )
    try:
        return ModelSpec.from_json(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise ModelFileError(f"{file}: its spec is no UTF-8: copy or export it again") from None
    except _SPEC_ERRORS as error:
        raise ModelFileError(f"{file}: {error}") from None


class _NoProtobuf(Exception):  # noqa: N818 (told to the user in other words)
    """The bytes are no protobuf message."""


def _entry(opened: BinaryIO, start: int, end: int) -> bytes | None:
    """The value of a metadata entry if its key is the spec's."""
    parts: dict[int, tuple[int, int]] = {}
    for number, first, last in _fields(opened, start, end):
        parts[number] = (first, last)
    key, value = parts.get(1), parts.get(2)
    if key is None or key[1] - key[0] > 256 or _slice(opened, *key) != METADATA_KEY.encode():
        return None
    if value is None:
        return b""
    if value[1] - value[0] > _MAX_SPEC:
        raise _NoProtobuf(f"a spec of {value[1] - value[0]} bytes")
    return _slice(opened, *value)


def _slice(opened: BinaryIO, start: int, end: int) -> bytes:
    opened.seek(start)
    return opened.read(end - start)


def _fields(opened: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the length-delimited fields of a protobuf message."""
    for _ in range(_MAX_FIELDS):
        if at >= end:
            return
        # a field's number and its length, at most ten bytes each
        lead = _slice(opened, at, min(at + 20, end))
        key, used = _varint(lead, 0, at)
        number, wire = key >> 3, key & 7
        size = _SIZES.get(wire, 0)
        if wire in (0, 2):
            value, used = _varint(lead, used, at)
            size = value if wire == 2 else 0
        elif not size:
            raise _NoProtobuf(f"no field at byte {at}")
        if number == 0:
            raise _NoProtobuf(f"no field at byte {at}")
        at += used
        if size > end - at:
            raise _NoProtobuf(f"{size} bytes are announced at byte {at}, {end - at} are there")
        if wire == 2:
            yield number, at, at + size
        at += size
    raise _NoProtobuf(f"more than {_MAX_FIELDS} fields")


def _varint(lead: bytes, at: int, offset: int) -> tuple[int, int]:
    """The number at that position, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(lead):
            raise _NoProtobuf(f"it ends within a number, at byte {offset + at}")
        byte = lead[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _NoProtobuf(f"no number at byte {offset + at}")


def _check_file(file: Path) -> None:
    try:
        if file.is_dir():
            raise ModelFileError(
                f"{file} is a folder, expected a file ({', '.join(SUFFIXES)}): name a file in it"
            )
        if not file.exists():
            raise ModelFileError(f"{file} does not exist: check the path (here: {Path.cwd()})")
        if not file.is_file():
            raise ModelFileError(f"{file} is a device or a pipe, expected a file on a disk")
        if file.stat().st_size == 0:
            raise ModelFileError(f"{file} is empty: copy it again, or export or build it again")
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise ModelFileError(f"{file} cannot be read ({error})") from None


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    # read, not mapped: a mapping ends the process when another one shortens the file meanwhile
    _check_file(file)
    try:
        with file.open("rb") as opened:
            yield opened
    except OSError as error:
        raise ModelFileError(
            f"{file} cannot be read ({error.strerror}): check its rights"
        ) from None


def _occurrences(opened: BinaryIO, mark: bytes) -> Iterator[int]:
    """Positions of a mark in the file, in order; the file may be moved in between."""
    at, kept = 0, b""
    while True:
        opened.seek(at)
        block = opened.read(_BLOCK)
        if not block:
            return
        text = kept + block
        found = text.find(mark)
        while found >= 0:
            yield at - len(kept) + found
            found = text.find(mark, found + 1)
        at += len(block)
        kept = text[-(len(mark) - 1) :]
