"""Reading a bundle's archive: every fault of the file is told as one."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from maskrt import manifest
from maskrt.artefact import ArtefactHead
from maskrt.errors import ModelFileError, SpecError
from maskrt.manifest import Manifest
from maskrt.runtime.closing import Closing

MAX_MANIFEST = 1 << 22
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,  # a compression method that Python does not know
    RuntimeError,  # an encrypted entry
    OverflowError,
    MemoryError,
)


class BundleArchive(Closing):
    """An open bundle.

    Attributes:
        head: what the file was built for.
        manifest: its parts.

    Raises:
        ModelFileError: the file is missing, broken, or no bundle.
    """

    head: ArtefactHead
    manifest: Manifest

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            raise ModelFileError(f"{path} is a folder, expected a .bundle file")
        if not path.is_file():
            raise ModelFileError(f"{path} does not exist: check the path (here: {Path.cwd()})")
        try:
            self._zip = zipfile.ZipFile(path)
        except _FAULTS as error:
            raise self._broken(f"it is no complete archive ({error})") from None
        try:
            text = self._read(manifest.ENTRY, MAX_MANIFEST)
            self.head, self.manifest = manifest.from_json(text)
        except SpecError as error:
            self.close()
            raise ModelFileError(f"{path}: {error}") from None
        except ModelFileError:
            self.close()
            raise

    def read(self, entry: str) -> bytes:
        """An entry's bytes, checked against the archive's checksum.

        Raises:
            ModelFileError: it is missing or damaged.
        """
        return self._read(entry, self._path.stat().st_size)

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def _read(self, entry: str, limit: int) -> bytes:
        try:
            size = self._zip.getinfo(entry).file_size
            # an entry that claims to be larger than the whole file would take all memory
            if size > limit:
                raise ValueError(f"it claims {size} bytes")
            return self._zip.read(entry)
        except _FAULTS as error:
            raise self._broken(f"its entry {entry} cannot be read ({error})") from None

    def _broken(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"{self._path} is damaged, incomplete, or no bundle: {why}. Copy it again, or build it "
            "again with  maskrt build"
        )
