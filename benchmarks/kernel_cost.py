"""What the CUDA kernels cost, read from their machine code: needs nvcc, but no GPU.

    python benchmarks/kernel_cost.py                       # sm_75, 87, 89, 120
    python benchmarks/kernel_cost.py --arch 87 --json out.json

First table: every kernel, for each architecture. Registers, spills, stack and shared memory are
ptxas' words; FP64 and local-memory instructions are counted in the disassembly; occupancy follows
from registers and block size (shared memory is dynamic and small).

Second table: instructions and global loads for each output of RoIAlign. The loops around the last
feature load are found in the disassembly by their backward branches; each one's instructions count
as often as it runs. How often that is comes from 20,000 random RoIs of 7 to 28 cells a side
(log-uniform, as a pyramid's level assignment gives them): taps of a bin after equal ones are
merged, columns that neighbouring bins do not share. What a branch skips for a shared column counts
for the others only; apart from that, whatever lies in a loop counts as executed, even where a
branch or a predicate skips it: the figures are upper bounds. Working out the taps, once for a RoI
and all its channels, is not in them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from maskrt.commands.console import Steps, console, table

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "plugins"
ARCHITECTURES = [75, 87, 89, 120]
WARPS = {75: 32, 86: 48, 87: 48, 89: 48, 110: 48, 120: 48, 121: 48}
"""Resident warps of a multiprocessor (CUDA C++ programming guide); 64 elsewhere."""
REGISTERS = 65536
FP64 = re.compile(r"^(?:DADD|DMUL|DFMA|DSETP|DMNMX|MUFU\.RCP64|F2F\.F64|[FI]2F.*\.F64)")
LOCAL = re.compile(r"^(?:LDL|STL)")
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,5})\*/\s+(?:(@!?U?P\w+)\s+)?([^;]*?)\s*;")


@dataclass(frozen=True)
class Instruction:
    """One line of the disassembly."""

    address: int
    text: str

    @property
    def target(self) -> int | None:
        """Where a branch goes."""
        found = re.match(r"BRA(?:\.\w+)*\s+(?:!?U?P\w+,\s*)?(?:`\()?0x([0-9a-f]+)", self.text)
        return int(found[1], 16) if found else None


@dataclass(frozen=True)
class Kernel:
    """A kernel on one architecture."""

    operator: str
    name: str
    arch: int
    threads: int
    registers: int
    stack: int
    spills: int
    instructions: tuple[Instruction, ...]

    @property
    def fp64(self) -> int:
        """Instructions in double precision."""
        return sum(bool(FP64.match(i.text)) for i in self.instructions)

    @property
    def local(self) -> int:
        """Loads and stores of local memory."""
        return sum(bool(LOCAL.match(i.text)) for i in self.instructions)

    @property
    def occupancy(self) -> float:
        """Share of the resident warps that registers and block size allow."""
        warps = -(-self.threads // 32)
        limit = WARPS.get(self.arch, 64)
        of_block = -(-self.registers // 8) * 8 * 32 * warps
        return min(limit // warps, REGISTERS // of_block) * warps / limit


def tool(name: str) -> str:
    """A program of the toolkit, or of the packages nvidia-cuda-*."""
    homes = [os.environ[v] for v in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT") if v in os.environ]
    packages = Path(sysconfig.get_paths()["purelib"])
    places = [f"{home}/bin" for home in [*homes, "/usr/local/cuda"]]
    places += map(str, sorted(packages.glob("nvidia/*/bin")))
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))
    if not found:
        sys.exit(
            f"{name} was not found: install the CUDA toolkit, or "
            "pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
        )
    return found


def run(*command: str) -> tuple[str, str]:
    """Output and messages of a command; its failure ends the program."""
    environment = dict(os.environ)
    # cuobjdump calls nvdisasm
    disassembler = str(Path(tool("nvdisasm")).parent)
    environment["PATH"] = os.pathsep.join([environment.get("PATH", ""), disassembler])
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout, done.stderr


def compiled(operator: str, arch: int, folder: Path) -> list[Kernel]:
    """The kernels of an operator for one architecture."""
    source = PLUGINS / operator / "kernel.cu"
    options = ["-std=c++17", "-O3", "-fmad=false", f"-I{PLUGINS}", "-DMASKRT_BUILDING"]
    cubin, ptx = folder / f"{operator}.{arch}.cubin", folder / f"{operator}.ptx"
    nvcc = tool("nvcc")
    _, words = run(
        nvcc,
        *options,
        f"-arch=sm_{arch}",
        "--resource-usage",
        "-cubin",
        "-o",
        str(cubin),
        str(source),
    )
    run(nvcc, *options, "-arch=compute_75", "-ptx", "-o", str(ptx), str(source))
    text = ptx.read_text(encoding="utf-8")
    threads = {
        name: int(count)
        for name, count in re.findall(r"\.entry (\w+)\(.*?\.maxntid (\d+)", text, re.DOTALL)
    }
    used = {}
    for part in words.split("Compiling entry function")[1:]:
        name = re.search(r"'(\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        memory = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", part)
        if not (name and registers and memory):
            sys.exit(f"{operator}: ptxas did not say what a kernel uses:\n{part}")
        used[name[1]] = (int(registers[1]), int(memory[1]), int(memory[2]))
    listing, _ = run(tool("cuobjdump"), "-sass", str(cubin))
    kernels = []
    for part in listing.split("Function : ")[1:]:
        name = part.split(maxsplit=1)[0]
        instructions = tuple(
            Instruction(int(found[1], 16), found[3])
            for line in part.splitlines()
            if (found := INSTRUCTION.match(line)) and not found[3].startswith("NOP")
        )
        kernels.append(
            Kernel(operator, readable(name), arch, threads[name], *used[name], instructions)
        )
    return kernels


def readable(name: str) -> str:
    """A kernel's name without namespaces and parameters."""
    plain = subprocess.run(["c++filt", name], capture_output=True, text=True, check=False).stdout
    plain = plain.strip().removeprefix("void ").replace("(anonymous namespace)::", "")
    plain = re.sub(r"\(.*\)$", "", plain)
    return re.sub(r"maskrt::(?:\w+::)?", "", plain).replace("signed char", "int8")


@dataclass(frozen=True)
class Loop:
    """A range of instructions that ends with a branch to its begin."""

    begin: int
    end: int


def loops_around(kernel: Kernel, address: int) -> list[Loop]:
    """The loops that hold an instruction, outermost first."""
    branches = [(i.target, i.address) for i in kernel.instructions if i.target is not None]
    ends: dict[int, int] = {}
    for target, source in branches:
        if target < source and target <= address <= source:
            ends[target] = max(source, ends.get(target, 0))
    return sorted((Loop(b, e) for b, e in ends.items()), key=lambda loop: loop.begin - loop.end)


def inside(kernel: Kernel, loop: Loop, without: Loop | None = None) -> list[Instruction]:
    """A loop's instructions, but those of the loop within."""
    return [
        i
        for i in kernel.instructions
        if loop.begin <= i.address <= loop.end
        and not (without and without.begin <= i.address <= without.end)
    ]


def skipped(kernel: Kernel, loop: Loop, inner: Loop) -> Loop:
    """The largest part of a loop, around the inner one, that a forward branch skips."""
    after = {i.address: j.address for i, j in pairwise(kernel.instructions)}
    parts = [
        Loop(after[i.address], i.target - 1)
        for i in kernel.instructions
        if i.target is not None and loop.begin <= i.address < inner.begin
        if inner.end < i.target <= loop.end
    ]
    return min(parts, key=lambda part: part.begin, default=inner)


@dataclass(frozen=True)
class Trips:
    """Means over RoIs, for one thread's row of bins."""

    taps: float
    """Columns' taps, of all bins of a row."""
    columns: float
    """Of them those that the bin before has not left."""
    pairs_of_columns: float
    """Columns times pairs of rows."""
    taps_of_bin: float
    """Rows times columns of a single bin."""
    rows_of_bin: float


def trips(bins: int, ratio: int, rois: int = 20_000) -> Trips:
    """Counts taps as ``plugins/roi_align/math.h`` makes them, for square RoIs."""
    rng = np.random.default_rng(0)
    sides = 7 * 4 ** rng.random(rois)
    sums = np.zeros(5)
    for side in sides:
        start = rng.uniform(100, 101, 2)
        cells = []
        for axis in range(2):
            size = side / bins
            samples = ratio or int(np.ceil(size))
            at = start[axis] + size * (
                np.arange(bins)[:, None] + (np.arange(samples) + 0.5) / samples
            )
            first = np.floor(at).astype(int)
            cells.append([sorted({*row, *(row + 1)}) for row in first])
        rows = np.mean([len(row) for row in cells[0]])
        pairs = np.mean([-(-len(row) // 2) for row in cells[0]])
        taps = sum(len(bin_) for bin_ in cells[1])
        shared = sum(a[-1] == b[0] for a, b in pairwise(cells[1]))
        columns = taps - shared
        sums += [taps, columns, columns * pairs, rows * taps / bins, rows]
    return Trips(*(sums / rois))


COST = ("kernel", "arch", "bins", "sampling_ratio", "instructions", "loads")
PEERS = (
    ("torchvision fp32", 570, 21.0),
    ("torchvision fp16", 919, 21.0),
    ("ROIAlign_TRT fp32", 508, 21.0),
    ("ROIAlign_TRT fp16", 539, 21.0),
    ("mmdeploy multi-level fp32", 532, 21.0),
)
"""sm_87, 7x7, sampling ratio 2: instructions and loads for each output, counted in the same way."""


def channels_last_cost(kernel: Kernel, bins: int, t: Trips) -> tuple[float, float]:
    """Instructions and loads per output of ``pool_channels_last``."""
    width = int(kernel.name.rstrip(">").rsplit(" ", 1)[1])
    loads = [i for i in kernel.instructions if i.text.startswith("LDG") and "128" in i.text]
    loops = loops_around(kernel, loads[-1].address)
    if len(loops) != 4:
        raise SystemExit(
            f"{kernel.name}: found {len(loops)} loops around the last load, expected 4"
        )
    _, row, taps, pairs = loops
    new_column = skipped(kernel, taps, pairs)
    instructions = (
        len(inside(kernel, row, taps)) * bins
        + len(inside(kernel, taps, new_column)) * t.taps
        + len(inside(kernel, new_column, pairs)) * t.columns
        + len(inside(kernel, pairs)) * (t.pairs_of_columns - t.columns)
    )
    # the first pair of rows lies before the loop over the others
    loaded = 2 * t.pairs_of_columns
    return instructions / (bins * width), loaded / (bins * width)


def linear_cost(kernel: Kernel, t: Trips) -> tuple[float, float]:
    """Instructions and loads per output of ``pool_linear``."""
    loads = [i for i in kernel.instructions if i.text.startswith("LDG")]
    loops = loops_around(kernel, loads[-1].address)
    channels, rows, taps = loops[-3:]
    planes = sum(i.text.startswith("LDG") for i in inside(kernel, taps))
    instructions = (
        len(inside(kernel, channels, rows))
        + len(inside(kernel, rows, taps)) * t.rows_of_bin
        + len(inside(kernel, taps)) * t.taps_of_bin
    )
    return instructions / planes, t.taps_of_bin


def roi_align_cost(kernel: Kernel, bins: int, t: Trips) -> tuple[float, float] | None:
    """Instructions and loads per output; None for the kernels without vector loads."""
    if kernel.name.startswith("pool_linear"):
        return linear_cost(kernel, t)
    return None if kernel.name.endswith(" 1>") else channels_last_cost(kernel, bins, t)


def operators() -> list[str]:
    """Those that have kernels."""
    return sorted(path.parent.name for path in PLUGINS.glob("*/kernel.cu"))


def main() -> None:
    """Compiles, counts, prints the tables, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, metavar="SM")
    parser.add_argument("--operator", nargs="+", help="only these (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    known = operators()
    chosen = options.operator or known
    if unknown := set(chosen) - set(known):
        parser.error(f"found operator {', '.join(sorted(unknown))}, expected {', '.join(known)}")

    kernels: list[Kernel] = []
    with Steps() as step, tempfile.TemporaryDirectory() as folder:
        for operator in chosen:
            for arch in options.arch:
                step(f"Compiling {operator} for sm_{arch}")
                kernels += compiled(operator, arch, Path(folder))
    kernels.sort(key=lambda k: (k.operator, k.name, k.arch))
    columns = (
        "operator",
        "kernel",
        "sm",
        "threads",
        "registers",
        "spills",
        "stack",
        "local",
        "FP64",
    )
    table(
        "CUDA kernels",
        (*columns, "instructions", "occupancy"),
        (
            (
                *(k.operator, k.name, k.arch, k.threads, k.registers),
                *(k.spills, k.stack, k.local, k.fp64),
                *(len(k.instructions), f"{k.occupancy:.0%}"),
            )
            for k in kernels
        ),
    )
    costs = []
    cases = [(7, 2), (14, 2), (7, 0)]
    means = {case: trips(*case) for case in cases}
    for kernel in (k for k in kernels if k.operator == "roi_align"):
        for bins, ratio in cases:
            cost = roi_align_cost(kernel, bins, means[bins, ratio])
            if cost is None:
                continue
            costs.append((kernel.name, kernel.arch, bins, ratio, *cost))
    if costs:
        table(
            "RoIAlign, for each output (upper bounds)",
            ("kernel", "sm", "bins", "sampling", "instructions", "global loads"),
            (
                (
                    name,
                    str(arch),
                    f"{bins}x{bins}",
                    str(ratio or "adaptive"),
                    f"{i:.1f}",
                    f"{loads:.2f}",
                )
                for name, arch, bins, ratio, i, loads in costs
            ),
        )
        table(
            "Other projects' kernels: sm_87, 7x7, sampling 2, for each output",
            ("kernel", "instructions", "global loads"),
            ((name, count, f"{loads:.0f}") for name, count, loads in PEERS),
        )
    if options.json:
        record = {
            "kernels": [
                {k: v for k, v in asdict(kernel).items() if k != "instructions"}
                | {"fp64": kernel.fp64, "local": kernel.local, "occupancy": kernel.occupancy}
                for kernel in kernels
            ],
            "roi_align": [dict(zip(COST, cost, strict=True)) for cost in costs],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()
