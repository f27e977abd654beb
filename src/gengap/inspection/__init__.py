"""Looks at a data set's examples: which labels are likely wrong."""

from ._labels import Labels as Labels, labels as labels
