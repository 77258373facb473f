"""What ends a run."""


class Failed(Exception):
    """The run proves nothing: a part did not work, or the numbers are not what they claim to be."""


class Dishonest(Failed):
    """What was sent, judged, recorded and received do not agree. `faults` says where, one sentence each."""

    def __init__(self, where: str, faults: tuple[str, ...]) -> None:
        super().__init__(f"{where}: " + "; ".join(faults))
        self.faults = faults
