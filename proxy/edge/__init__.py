"""Where agents connect: the supervisor, its workers, and mitmproxy."""

from proxy.edge import bare

bare.install()
