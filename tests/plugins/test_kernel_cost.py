"""What the CUDA kernels' machine code must not cost; needs nvcc, no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kernel_cost

ARCHITECTURES = (87, 89)
BINS, SAMPLING_RATIO = 7, 2
pytestmark = pytest.mark.slow(reason="compiles the kernels with nvcc, for two architectures")
IN_DOUBLE = {("letterbox", "weights_kernel")}
"""A thousandth of Letterbox's threads: Pillow rounds its weights from float64, and nothing else
gives the same ones."""


@pytest.fixture(scope="module")
def tools() -> None:
    """nvcc and the disassembler."""
    for name in ("nvcc", "cuobjdump", "nvdisasm"):
        try:
            kernel_cost.tool(name)
        except SystemExit as error:
            pytest.skip(str(error))


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("operator", kernel_cost.operators())
def test_nothing_spills_and_what_may_be_double_is_named(operator: str, tmp_path: Path) -> None:
    kernels = kernel_cost.compiled(operator, 87, tmp_path)
    if operator != "multilevel_roi_align":  # its kernels are RoIAlign's
        assert kernels
    for kernel in kernels:
        assert (kernel.spills, kernel.stack, kernel.local) == (0, 0, 0), kernel.name
        assert (kernel.fp64 > 0) == ((operator, kernel.name) in IN_DOUBLE), kernel.name


@pytest.fixture(scope="module")
def pools(tools: None, tmp_path_factory: pytest.TempPathFactory) -> list[kernel_cost.Kernel]:
    """RoIAlign's kernels."""
    folder = tmp_path_factory.mktemp("cubins")
    return [k for arch in ARCHITECTURES for k in kernel_cost.compiled("roi_align", arch, folder)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "most_instructions", "most_loads"),
    [
        ("pool_channels_last<Half, 8>", 45, 2.1),
        ("pool_channels_last<int8, 16>", 45, 0.7),
        ("pool_linear<Half>", 919 / 2, 21),  # torchvision's: 919 and 21
    ],
)
def test_roi_align(
    pools: list[kernel_cost.Kernel],
    name: str,
    arch: int,
    most_instructions: float,
    most_loads: float,
) -> None:
    (kernel,) = (k for k in pools if (k.name, k.arch) == (name, arch))
    cost = kernel_cost.roi_align_cost(kernel, BINS, kernel_cost.trips(BINS, SAMPLING_RATIO, 2000))
    assert cost
    instructions, loads = cost
    assert 10 < instructions <= most_instructions
    assert 0.3 < loads <= most_loads


def test_equal_taps_are_merged_as_the_operator_merges_them() -> None:
    trips = kernel_cost.trips(7, 2, 2000)
    assert 9.5 < trips.taps_of_bin < 10.5  # of 16
    assert 12 < kernel_cost.trips(7, 0, 2000).taps_of_bin < 13
