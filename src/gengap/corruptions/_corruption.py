"""The interface of corruptions."""

from abc import ABC, abstractmethod

from gengap.data import Split


class Corruption(ABC):
    """A pure, seeded change of a split that records which examples it changed.

    Concrete corruptions are frozen dataclasses whose fields are plain data: `repr` is the label
    in a report, `==` the identity, `dataclasses.asdict` what is stored.
    """

    @abstractmethod
    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return a changed copy of `split`; the argument is left alone.

        Args:
            split: What to change. A corruption of inputs changes train and test halves; one of
                labels leaves a test half as it is unless its `test_labels` is true.
            seed: Root of the draws. One seed, one result, whatever else was drawn before.

        Returns:
            A split whose `changed` marks every example that this or an earlier corruption
            changed, and whose `true_targets` are those of the argument.
        """
