"""Writing files so that no partial one is ever left under the final name; their digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from maskrt.errors import MaskrtError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; renames it to ``path`` when the block succeeds.

    Missing folders are made. When the block fails the temporary file goes and an older file under
    ``path`` stays as it was. The temporary file has the suffix of the final one.

    Raises:
        MaskrtError: ``path`` cannot be written.
    """
    final = Path(path)
    if final.is_dir():
        raise MaskrtError(f"{final} is a folder: name a file to write")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{final.stem}.", suffix=final.suffix, dir=final.parent
        )
    except OSError as error:
        raise MaskrtError(f"{final} cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only the owner reads
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
