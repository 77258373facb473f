"""mitmproxy's addons one by one: what is not asked for is not imported, and what is asked for is what it always was."""

import subprocess
import sys

ASK = """
import sys
{before}
import proxy.edge.master
from mitmproxy.addons import core
import mitmproxy.addons
def there(): return sum(name.startswith("mitmproxy.addons.") for name in sys.modules)
few = there()
try:
    mitmproxy.addons.no_such_thing
except AttributeError:
    print("none such", end=" ")
print(few < 12, mitmproxy.addons.core is core, len(mitmproxy.addons.default_addons()) > 25, there() > 25)
"""


def asked(before: str = "") -> str:
    return subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_worker_imports_the_few_that_it_uses() -> None:
    assert asked() == "none such True True True True"


def test_what_was_imported_before_stays_as_it_is() -> None:
    assert asked("import mitmproxy.addons") == "none such False True True True"
