"""mitmproxy's own addons are imported one by one, as they are asked for: we use five of them.

The package itself imports all thirty, and with them web frameworks and directory services: a third of the time that a
worker takes to start. Whoever asks it for anything but one of its modules gets the package as it is written.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec

_PACKAGE = "mitmproxy.addons"


def install() -> bool:
    """Put the package in place without running it; whether that could still be done."""
    if _PACKAGE in sys.modules:
        return False
    spec = find_spec(_PACKAGE)
    if spec is None or spec.loader is None:
        return False
    package, load = module_from_spec(spec), spec.loader.exec_module

    def ask(name: str) -> object:
        try:
            return import_module(f"{_PACKAGE}.{name}")
        except ModuleNotFoundError as fault:
            if fault.name != f"{_PACKAGE}.{name}" or name.startswith("__"):
                raise AttributeError(name) from None
        del package.__getattr__
        load(package)
        return getattr(package, name)

    package.__getattr__ = ask  # type: ignore[method-assign]
    sys.modules[_PACKAGE] = package
    parent, _, name = _PACKAGE.partition(".")
    setattr(sys.modules[parent], name, package)
    return True
