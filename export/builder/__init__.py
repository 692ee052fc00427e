"""Engines of TensorRT and TensorRT-RTX: one path over the Python module of either.

The plain API is used, not Polygraphy's loaders: those choose between the two libraries once for a
process, send what is logged to a logger of their own, and end with an exception without the node
that failed, which is what a user needs to know.
"""

from maskrt.export.builder.capabilities import capabilities, parse_capability
from maskrt.export.builder.engine import build_engine, log_path, write_engine
from maskrt.export.builder.errors import BuildError
from maskrt.export.builder.facts import make_head
from maskrt.export.builder.library import EngineLibrary, library_version, load
from maskrt.export.builder.options import BuildOptions, Profile
from maskrt.export.builder.profiles import single_profiles, stage_profiles
from maskrt.export.builder.stages import stage_finder

__all__ = [
    "BuildError",
    "BuildOptions",
    "EngineLibrary",
    "Profile",
    "build_engine",
    "capabilities",
    "library_version",
    "load",
    "log_path",
    "make_head",
    "parse_capability",
    "single_profiles",
    "stage_finder",
    "stage_profiles",
    "write_engine",
]
