"""Starts a program once the doctor finds no way out but the proxy; until then, and else, it does not run.

python3 gate.py [OPTIONS of `intent-proxy doctor --from-agent`] -- PROGRAM [ARGUMENTS]
"""

import os
import subprocess
import sys
import time

PATIENCE_S = 90


def main(words: list[str]) -> None:
    at = words.index("--")
    options, program = words[:at], words[at + 1 :]
    until = time.monotonic() + PATIENCE_S
    while True:  # everything starts at once here: what is open now may be closed in a second
        asked = ["intent-proxy", "doctor", "--from-agent", "--timeout", "1", *options]
        done = subprocess.run(asked, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            print("gate: there is no way out but the proxy", flush=True)
            os.execvp(program[0], program)
        if time.monotonic() > until:
            raise SystemExit(f"gate: this place is not closed, {program[0]} is not started\n{done.stdout}{done.stderr}")
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1:])
