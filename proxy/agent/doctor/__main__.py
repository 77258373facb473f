"""The doctor as a program of its own, for places with the base distribution alone."""

import sys

from proxy.agent.doctor.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], program="python -m proxy.agent.doctor"))
