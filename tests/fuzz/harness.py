"""One target in a process of its own: `python tests/fuzz/harness.py TARGET FOLDER [libFuzzer options]`.

FOLDER keeps what was found worth keeping between runs, and an input that broke the target as `crash-…` or `timeout-…`.
Repeat one with `python tests/fuzz/harness.py TARGET FOLDER FOLDER/crash-…`.
"""

import hashlib
import sys
from pathlib import Path

import atheris

SUPPORT = Path(__file__).parents[1] / "support"


def main(name: str, folder: Path, *options: str) -> None:
    sys.path.insert(0, str(SUPPORT))
    with atheris.instrument_imports(include=["fuzz_targets", "proxy", "http_sf"]):
        from fuzz_targets import BROKEN, TARGETS
    target, inputs = {**TARGETS, BROKEN.name: BROKEN}[name], folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (inputs / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    repeated = any(not option.startswith("-") for option in options)
    corpus = [] if repeated else [str(inputs)]
    atheris.Setup(
        [sys.argv[0], f"-artifact_prefix={folder}/", *options, *corpus], lambda data: _run(target.accepts, data)
    )
    atheris.Fuzz()


def _run(accepts, data: bytes) -> None:
    accepts(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
