"""What a caller chooses about a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Shapes that an engine takes and is tuned for."""

    shapes: dict[str, tuple[Shape, Shape, Shape]]
    """By input: smallest, most frequent, largest."""

    def __post_init__(self) -> None:
        for name, (low, opt, high) in self.shapes.items():
            same = len(low) == len(opt) == len(high)
            if not same or not all(
                0 <= a <= b <= c for a, b, c in zip(low, opt, high, strict=True)
            ):
                raise ValueError(
                    f"profile of '{name}': expected min <= opt <= max, found {low}, {opt}, {high}"
                )


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built; None means the library's default."""

    compute_capabilities: tuple[str, ...] = ()
    """TensorRT-RTX: GPUs to build for, ``"8.6"``; empty: all that it knows from 8.0 on. TensorRT
    builds for the GPU that it runs on; another one is refused."""
    workspace: int | None = None
    """Bytes of scratch memory that a layer may use."""
    level: int | None = None
    """Effort, 0 to 5: a higher one tries more kernels. TensorRT-RTX picks kernels where the engine
    runs: no effect there."""
    timing_cache: Path | None = None
    """Timings of kernels: read if the file is there, and written after a build that succeeds.
    TensorRT-RTX has none."""
    version_compatible: bool = False
    """Runs with later minor versions of TensorRT, too; not for TensorRT-RTX."""
    hardware_compatible: bool = False
    """Runs on any GPU from Ampere on; not for TensorRT-RTX, which takes several GPUs anyway."""
    embed_plugins: bool = False
    """Puts the plugin library into the engine."""
    plugin_library: Path | None = None
    """``libmaskrt_plugins``; needed where the graph has nodes of the domain ``maskrt``."""
    tf32: bool = True
    """Float32 convolutions may round their operands to TF32, as PyTorch's do."""
    log: Path | None = None
    """The library's verbose log is kept there when the build fails; see ``log_path``."""

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 5:
            raise ValueError(f"level: found {self.level}, expected 0 to 5")
        if self.workspace is not None and self.workspace <= 0:
            raise ValueError(f"workspace: found {self.workspace}, expected bytes, more than 0")
        if self.embed_plugins and self.plugin_library is None:
            raise ValueError("embed_plugins: expected plugin_library, found none")
