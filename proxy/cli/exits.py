"""What the program's exit codes mean. Scripts rely on them: a number is never given another meaning."""

import enum

from proxy.core.errors import Code, Rejected, Unavailable


class Exit(enum.IntEnum):
    """The exit codes of `intent-proxy`; docs/cli.md lists them for people."""

    OK = 0
    REFUSED = 1  # what was given is wrong, or what was checked is not as it should be
    CANNOT_TELL = 2  # wrong usage, or what was asked could not be found out
    DECIDED = 3  # the hold was decided before; who did is printed
    NOT_PERMITTED = 4  # this person, or this key, may not do that with a hold or a grant
    UNKNOWN = 5  # there is no such hold
    EXPIRED = 6  # nobody decided the hold in time
    SIGNED = 8  # released, but others must release it, too
    UNAVAILABLE = 7  # a store or the proxy did not answer: try again
    WOULD_HOLD = 10  # `explain`: the call would be held
    WOULD_DENY = 11  # `explain`: the call would be denied
    BROKEN = 70  # an error of this program
    INTERRUPTED = 130  # Ctrl-C


_BY_CODE = {
    Code.HOLD_NOT_PERMITTED: Exit.NOT_PERMITTED,
    Code.HOLD_UNKNOWN: Exit.UNKNOWN,
    Code.HOLD_EXPIRED: Exit.EXPIRED,
}


def exit_for(fault: Rejected | Unavailable) -> Exit:
    """The exit code of a refusal."""
    if isinstance(fault, Unavailable):
        return Exit.UNAVAILABLE
    return _BY_CODE.get(fault.code, Exit.REFUSED)
