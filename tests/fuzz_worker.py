"""Opens model files whose paths come on standard input; says what became of each.

A process of its own, so that a crash or a hang shows as what it is. A line for each path:
``loaded``, ``refused`` (a MaskrtError), or ``fault`` and the exception.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings

from maskrt.errors import MaskrtError
from maskrt.heads import read_head, read_spec
from maskrt.runtime import Detector

MEMORY = 8 << 30  # a file that asks for more gets an exception, not all of the machine's


def main() -> None:
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    # libraries print to standard output when they like: the answers go by a channel of their own
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answers.write(f"{verdict(line.strip())}\n")


def verdict(path: str) -> str:
    found = []
    for read in (read_spec, read_head, load):
        try:
            read(path)
            found.append("loaded")
        except MaskrtError as error:
            if path not in str(error) or len(str(error)) > 20_000:
                return f"fault: the message does not name the file, or is endless: {error!r:.500}"
            found.append("refused")
        except BaseException:
            last = traceback.format_exc().strip().splitlines()
            return "fault: " + " | ".join(part.strip() for part in last[-5:])[:2000]
    return "loaded" if found[-1] == "loaded" else "refused"


def load(path: str) -> None:
    Detector(path, threads=1).close()


if __name__ == "__main__":
    main()
