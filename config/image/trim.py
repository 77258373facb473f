"""Leaves out of an environment what no program of ours runs, and compiles the rest: the root is read-only later.

python3 trim.py /opt/intent-proxy
"""

import compileall
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

PROGRAMS = ("intent-proxy", "python")
UNUSED = ("tests", "test", "__pycache__")


def main(environment: Path) -> None:
    (site,) = environment.glob("lib/python3.*/site-packages")
    for name in UNUSED:
        for found in list(site.rglob(name)):
            if found.is_dir():
                shutil.rmtree(found)
    for source in (*site.rglob("*.pyi"), *site.rglob("*.pyx"), *site.rglob("*.c")):
        source.unlink()
    for program in (environment / "bin").iterdir():
        if not program.name.startswith(PROGRAMS):
            program.unlink()
    # Nobody changes a file in an image: what was compiled need not be compared with its source at every start.
    compileall.compile_dir(site, quiet=1, force=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
