"""Installs pycuda for the tests, where CUDA's toolkit is: it has no wheels.

    python tests/simcuda/install_pycuda.py

It is linked with the driver's library, which a machine without a GPU lacks: a library of that name
stands in, and the simulated driver takes its place in the tests. cuRAND is left out, as not all
toolkits have it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "2026.1"


def toolkit() -> Path | None:
    """The folder of CUDA's toolkit, with headers."""
    nvcc = shutil.which("nvcc")
    places = [os.environ.get(name) for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH")]
    places += [str(Path(nvcc).resolve().parents[1]) if nvcc else None, "/usr/local/cuda"]
    found = [Path(p) for p in places if p and (Path(p) / "include" / "cuda.h").is_file()]
    return found[0] if found else None


def main() -> None:
    """Builds and installs it."""
    if importlib.util.find_spec("pycuda") is not None:
        return
    root = toolkit()
    if root is None:
        print("no CUDA toolkit: pycuda is left out, and with it the tests that need it")
        return
    pip = [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        needed = ["setuptools", "wheel", "numpy", "pytools>=2011.2", "platformdirs", "mako"]
        subprocess.run([*pip, "install", "-q", *needed], check=True)
        source = ["download", "-q", "--no-deps", "--no-binary", "pycuda", "--no-build-isolation"]
        subprocess.run([*pip, *source, f"pycuda=={VERSION}", "-d", name], check=True)
        with tarfile.open(next(folder.glob("pycuda-*.tar.gz"))) as archive:
            archive.extractall(folder)
        # with a function that pycuda calls: linkers leave out libraries that nothing is taken from
        (folder / "libcuda.c").write_text("int cuInit(unsigned flags) { return flags ? 1 : 100; }")
        library = ["-shared", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so")]
        subprocess.run(["cc", *library, str(folder / "libcuda.c")], check=True)
        unpacked = next(path for path in folder.glob("pycuda-*") if path.is_dir())
        (unpacked / "siteconf.py").write_text(
            f"CUDA_ROOT = {str(root)!r}\nCUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = [{name!r}]\n"
        )
        path = os.pathsep.join([str(root / "bin"), os.environ["PATH"]])
        install = ["install", "-q", "--no-deps", "--no-build-isolation", str(unpacked)]
        # quiet: its own set-up warns at length of what setuptools will no longer take one day
        done = subprocess.run(
            [*pip, *install],
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"pycuda could not be compiled:\n{done.stdout}")


if __name__ == "__main__":
    main()
