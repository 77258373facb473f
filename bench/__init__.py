"""The benchmark: what a decision and a call cost, beside stock mitmproxy, measured so that it cannot flatter.

    python -m bench                 # everything, kept in bench/RESULTS.md and bench/results.json
    python -m bench --quick --json  # the same keys in under a minute, on standard output only

It stands on the parts tests stand on (`tests/support`): the same deployment, people, keys and certificates.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORT = ROOT / "tests" / "support"
if str(SUPPORT) not in sys.path:
    sys.path.append(str(SUPPORT))
