"""Maps the top-level folders onto the package ``maskrt``, and has CMake build the native libraries.

``CMAKE_ARGS`` reaches CMake: ``CMAKE_ARGS="-DCMAKE_CUDA_ARCHITECTURES=87" pip install .`` builds
the plugins for Orin alone, ``-DMASKRT_CUDA=OFF`` none. Without a C++ compiler the package is
installed without native libraries, and says so when one is needed.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE_DIR = {
    "maskrt": "core",
    "maskrt.commands": "core/commands",
    "maskrt.export": "export",
    "maskrt.export.adapters": "export/adapters",
    "maskrt.export.builder": "export/builder",
    "maskrt.export.detectron2": "export/detectron2",
    "maskrt.export.functions": "export/functions",
    "maskrt.export.passes": "export/passes",
    "maskrt.plugins": "plugins",
    "maskrt.plugins.ops": "plugins/ops",
    "maskrt.runtime": "runtime",
    "maskrt.runtime.devices": "runtime/devices",
    "maskrt.runtime.engines": "runtime/engines",
    "maskrt.calibration": "calibration",
    "maskrt.examples": "examples",
    "maskrt.examples.shapes": "examples/shapes",
}


class BuildWithLibraries(build_py):
    """Python files, and the two libraries beside them; an editable install finds them in build/."""

    def run(self):
        """Builds both."""
        super().run()
        compilers = [os.environ.get("CXX", "c++").split()[0], "g++", "clang++", "cl"]
        if not any(map(shutil.which, compilers)):
            self.warn("no C++ compiler was found: the native operators are left out")
            return
        build = ROOT / "build" / "cmake"
        arguments = shlex.split(os.environ.get("CMAKE_ARGS", ""))
        configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
        subprocess.run([*configure, *arguments], check=True)
        libraries = ["maskrt_ops"]
        if "MASKRT_HAS_CUDA:INTERNAL=ON" in (build / "CMakeCache.txt").read_text(encoding="utf-8"):
            libraries.append("maskrt_plugins")
        make = ["cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 1)]
        subprocess.run([*make, "--target", *libraries], check=True)
        if self.editable_mode:
            return
        for library in libraries:
            for path in build.glob(f"*{library}.*"):
                if path.suffix in {".so", ".dylib", ".dll"}:
                    self.copy_file(str(path), str(Path(self.build_lib, "maskrt", "plugins")))


class PlatformWheel(bdist_wheel):
    """A wheel for any Python, but for this platform only."""

    def get_tag(self):
        """As setuptools', with its platform."""
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return "py3", "none", self.plat_name.replace("-", "_") if self.plat_name else platform


class PlatformDistribution(Distribution):
    """Not a package of Python files alone."""

    def has_ext_modules(self):
        """So that it is installed where platform-specific packages go."""
        return True


setup(
    package_dir=PACKAGE_DIR,
    packages=list(PACKAGE_DIR),
    package_data={"maskrt": ["py.typed"], "maskrt.examples.shapes": ["weights/*.pth"]},
    include_package_data=False,  # or MANIFEST.in's sources would enter the wheel
    cmdclass={"build_py": BuildWithLibraries, "bdist_wheel": PlatformWheel},
    distclass=PlatformDistribution,
)
