"""An open bundle."""

from __future__ import annotations

import contextlib
from pathlib import Path

from maskrt import manifest
from maskrt.artefact import ArtefactHead
from maskrt.closing import Closing
from maskrt.errors import ModelFileError, SpecError
from maskrt.heads import opened_bundle, read_entry
from maskrt.manifest import Manifest


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
        with contextlib.ExitStack() as stack:
            self._zip = stack.enter_context(opened_bundle(path))
            try:
                self.head, self.manifest = manifest.from_json(self.read(manifest.ENTRY))
            except SpecError as error:
                raise ModelFileError(f"{path}: {error}") from None
            self._open = stack.pop_all()

    def read(self, entry: str) -> bytes:
        """An entry's bytes, checked against the archive's checksum.

        Raises:
            ModelFileError: it is missing or damaged.
        """
        return read_entry(self._path, self._zip, entry)

    def close(self) -> None:
        """Closes the file."""
        self._open.close()
