"""Whether two halves mean the same by their class indices."""

from gengap._errors import DataError

from ._split import Split


def check_classes(train: Split, test: Split) -> None:
    """Require that the halves have the same classes in the same order, where both name theirs.

    Raises:
        DataError: An index is another class in the test half.
    """
    ours, theirs = train.class_names, test.class_names
    if ours is None or theirs is None or ours == theirs:
        return
    places = (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1])
    place = next(places, None)
    if place is None:
        said = f"{len(ours)} classes for train and {len(theirs)} for test"
    else:
        said = f"{ours[place]!r} for train and {theirs[place]!r} for test as class {place}"
    raise DataError(
        f"`{train.name}` must have the same classes in the same order in its halves; got {said}. "
        "Give both halves' `class_names`, or read them together with gengap.data.as_splits."
    )
