"""The sample's agent: does its work, and then something that is not its work. Knows nothing of proxies.

Where its environment names a proxy, urllib goes there; where it does not, the network leads it.
"""

import json
import time
import urllib.error
import urllib.request
from typing import Any

ERP = "https://erp.example:8443"


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Status and document, whether it is the server's or a refusal. Where that says try again, this does."""
    for _ in range(5):
        try:
            answer = urllib.request.urlopen(url, timeout=30)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            told = json.load(answer)
        retry = told.get("retry", {})
        if retry.get("action") != "retry":
            break
        time.sleep(retry["after_s"] or 1)
    return answer.status, told


def say(*words: object) -> None:
    print("agent:", *words, flush=True)


def ready() -> None:
    """Wait until the proxy knows us: everything starts at once here."""
    for _ in range(120):
        try:
            if get("http://intent.internal/mandate")[0] == 200:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    raise SystemExit("agent: no proxy knows this agent")


def main() -> None:
    ready()
    say("invoice 17:", *get(f"{ERP}/v1/invoices/17"))
    status, told = get(f"{ERP}/v1/payroll/maria")
    say("payroll:", status, told.get("code"))
    task = told.get("task")
    if task is None:
        raise SystemExit(f"agent: neither passed nor held: {told}")
    say("waits for a person; hold", task["id"])
    while task["status"] == "held":
        time.sleep(1)
        _, task = get(task.get("status_endpoint") or f"http://intent.internal/holds/{task['id']}")
    say("decided:", task["status"])
    say("payroll again:", *get(f"{ERP}/v1/payroll/maria"))
    say("and once more:", get(f"{ERP}/v1/payroll/maria")[0])


if __name__ == "__main__":
    main()
