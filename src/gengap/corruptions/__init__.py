"""The randomizations: pure, seeded, composable changes of a split."""

from ._corruption import Corruption as Corruption
