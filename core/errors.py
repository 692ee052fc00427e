"""What maskrt raises when the user can mend it.

A message says what was found, what was expected and what to do next. The command line prints it
without a traceback. Bad arguments of the Python API raise ``ValueError`` or ``TypeError`` instead.
"""


class MaskrtError(Exception):
    """Base of all errors that a user can mend."""


class SpecError(MaskrtError, ValueError):
    """A ModelSpec is inconsistent, or its JSON cannot be read."""


class UnsupportedModelError(MaskrtError):
    """A model has a part that cannot be expressed in the canonical graph."""


class ModelFileError(MaskrtError):
    """A model file is missing, broken, foreign, or from another version."""


class FrameError(MaskrtError, ValueError):
    """A frame has a shape or dtype that cannot be read as an image."""


class SourceError(MaskrtError):
    """A source of frames cannot be opened or read."""


class MissingDependencyError(MaskrtError):
    """A command needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}', which is not installed: "
            f"run  pip install 'maskrt[{extra}]'"
        )
