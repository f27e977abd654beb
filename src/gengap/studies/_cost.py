"""What the trials of a study took, in a sentence."""

from ._gather import Gathered


def cost(found: Gathered) -> str:
    """Return how many trials have ended and how long training took."""
    minutes = found.seconds / 60
    took = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.1f} minutes"
    threads = "one thread of a CPU each, or a GPU"
    return (
        f"{found.ended} of {found.asked} trials have ended; training took {took} in all "
        f"({threads})."
    )
