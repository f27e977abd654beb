"""Examples from outside, as splits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from gengap._checks import check_choice
from gengap._errors import DataError

from ._classes_in_common import check_classes
from ._inputs import check_finite
from ._outside import Half, halves, opened, read_examples
from ._partition import partition
from ._preprocessing import Preprocessing
from ._reading import DEFAULT_IN_MEMORY, Examples, Layout, Reading
from ._split import Split
from ._standardization import fitted
from ._targets import Classes, find_classes, real_targets


def as_split(
    data: Any,
    targets: Any = None,
    *,
    half: Half = "train",
    name: str = "data",
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    regression: bool = False,
    preprocessing: Preprocessing | None = None,
    standardize: Literal["image", "dataset"] | None = None,
    layout: Layout = "auto",
    size: int | tuple[int, int] | None = None,
    in_memory: int = DEFAULT_IN_MEMORY,
) -> Split:
    """Turn examples from outside into a split.

    Inputs: 8-bit numbers stay 8-bit and are divided by 255 when a batch is made; all other
    numbers become float32 and are taken as they are. Images become (channels, height, width):
    four axes whose last has the size 1, 3 or 4, while the second has not, are channels-last,
    unless they are a tensor of floats; [n, height, width] of 8-bit numbers are grey images. Where
    that guesses wrong, say `layout`. Grey image files of 16 bits are floats, divided by 65535, and
    those of floats are taken as they are. With the layout "tokens" whole numbers stay whole,
    int64, as a network that begins with an Embedding takes them.

    Labels: whole numbers, also as floats, or strings. Strings, and whole numbers that leave gaps
    between 0 and the largest (only where neither `num_classes` nor `class_names` is given), are
    mapped to 0..c-1 in sorted order; the class names keep what they were. Negative labels are an
    error.

    Args:
        data: Inputs, with `targets`; or a pair (inputs, targets) of arrays or tensors; or the
            path of an `.npz` file with arrays `x` and `y`, or of a folder with one folder of
            images a class; or a map-style torch Dataset of pairs; or a data set of the library
            `datasets` with one column of images or arrays and one of labels; or a mapping with
            `x` and `y`.
            Of a source that is divided already, `half` says which half. A Split is returned as
            it is.
        targets: Labels [n], or real values [n] or [n, k].
        half: "train" or "test".
        name: What to call it in reports and errors.
        num_classes: Number of classes, if the labels do not show it; labels are then indices.
        class_names: Names of the classes, in the order of their indices.
        regression: Take the targets as real values.
        preprocessing: The way from stored examples to network inputs, if not the default.
        standardize: "image": every example by its own mean and deviation; "dataset": every
            channel or feature by those of all examples; None: not at all.
        layout: "auto", "channels_first" or "channels_last", for four axes; or "tokens".
        size: Side, or (height, width), that images of a folder or of `datasets` are brought to:
            scaled to cover it and cut around the centre. Without it they must be of one size.
        in_memory: Most bytes that a folder or Dataset may take in memory, stored as its split
            stores it, 1 GiB if not said; a larger one is streamed: fetched by index when a batch is
            made.

    Returns:
        A split. It may share memory with the arrays that it was made of.

    Raises:
        DataError: If the data are not what they should be; one sentence says how.

    Examples:
        >>> import numpy as np
        >>> as_split(np.zeros((4, 3), np.float32), ["cat", "dog", "dog", "cat"]).class_names
        ('cat', 'dog')
    """
    check_choice("half", half, ("train", "test"))
    reading = Reading(
        num_classes=num_classes,
        class_names=None if class_names is None else tuple(class_names),
        regression=regression,
        preprocessing=preprocessing,
        standardize=standardize,
        layout=layout,
        size=size,
        in_memory=in_memory,
    )
    source = opened(data if targets is None else (data, targets))
    divided = halves(source)
    if divided is None:
        return _read(source, reading, name=name, half=half)
    if half == "test":  # its classes are those of the train half
        return _read_both(divided, reading, name=name)[1]
    return _read(divided[0], reading, name=name, half=half)


def as_splits(
    source: Any,
    *,
    name: str = "data",
    test_share: float = 0.2,
    seed: int = 0,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    regression: bool = False,
    preprocessing: Preprocessing | None = None,
    standardize: Literal["image", "dataset"] | None = None,
    layout: Layout = "auto",
    size: int | tuple[int, int] | None = None,
    in_memory: int = DEFAULT_IN_MEMORY,
) -> tuple[Split, Split]:
    """Turn examples from outside into a train and a test split.

    A source that is divided keeps its halves: a pair of anything that `as_split` takes; the four
    arrays x_train, y_train, x_test, y_test as a tuple, in a mapping or in an `.npz` file; a folder
    with `train` and `test` (or `val`) folders; a DatasetDict with splits so called. Classes, and
    means for `standardize="dataset"`, are those of the train half. Any other source is divided,
    always the same way, each class in its proportion.

    Args:
        source: The examples; see `as_split`.
        name: What to call it in reports and errors.
        test_share: Share of the examples in the test half if the source is not divided, in (0, 1).
        seed: Root of the draw that divides it.
        num_classes: As for `as_split`, like all that follow.
        class_names: Names of the classes.
        regression: Take the targets as real values.
        preprocessing: The way from stored examples to network inputs.
        standardize: "image", "dataset" or None.
        layout: "auto", "channels_first", "channels_last" or "tokens".
        size: Side, or (height, width), that images of a folder or of `datasets` are brought to.
        in_memory: Most bytes that a folder or Dataset may take in memory.

    Returns:
        The train and the test split.

    Raises:
        DataError: If the data are not what they should be, or the halves do not fit together.
    """
    reading = Reading(
        num_classes=num_classes,
        class_names=None if class_names is None else tuple(class_names),
        regression=regression,
        preprocessing=preprocessing,
        standardize=standardize,
        layout=layout,
        size=size,
        in_memory=in_memory,
    )
    source = opened(source)
    divided = halves(source)
    if divided is None:
        return _divided(source, reading, name=name, test_share=test_share, seed=seed)
    train, test = _read_both(divided, reading, name=name)
    _check_halves(train, test)
    return train, test


def _read(source: Any, reading: Reading, *, name: str, half: Half) -> Split:
    if isinstance(source, Split):
        return _checked(source)
    examples = read_examples(source, reading, where=f"`{name}`")
    classes = None if reading.regression else find_classes(examples, reading)
    return _split(examples, classes, _preprocessing(examples, reading), name=name, half=half)


def _read_both(divided: tuple[Any, Any], reading: Reading, *, name: str) -> tuple[Split, Split]:
    first, second = divided
    if isinstance(first, Split) or isinstance(second, Split):
        train = replace(_read(first, reading, name=name, half="train"), half="train")
        reading = replace(
            reading,
            num_classes=train.num_classes,
            class_names=train.class_names,
            regression=train.num_classes is None,
            preprocessing=train.preprocessing,
            standardize=None,
        )
        return train, replace(_read(second, reading, name=name, half="test"), half="test")
    examples = read_examples(first, reading, where=f"`{name}` (train)")
    classes = None if reading.regression else find_classes(examples, reading)
    preprocessing = _preprocessing(examples, reading)
    train = _split(examples, classes, preprocessing, name=name, half="train")
    examples = read_examples(second, reading, where=f"`{name}` (test)")
    return train, _split(examples, classes, preprocessing, name=name, half="test")


def _divided(
    source: Any,
    reading: Reading,
    *,
    name: str,
    test_share: float,
    seed: int,
) -> tuple[Split, Split]:
    if not 0 < test_share < 1:
        raise ValueError(f"`test_share` must lie in (0, 1); got {test_share!r}.")
    unfitted = replace(reading, standardize="image" if reading.standardize == "image" else None)
    whole = _read(source, unfitted, name=name, half="train")
    if len(whole) < 2:
        raise DataError(f"`{name}` must hold at least two examples to be divided; got one.")
    num_test = min(max(1, round(test_share * len(whole))), len(whole) - 1)
    labels = None if whole.num_classes is None else whole.targets.cpu().numpy()
    train, test = (
        whole[indices]
        for indices in partition(labels, num_test=num_test, num_examples=len(whole), seed=seed)
    )
    if reading.standardize == "dataset" and not isinstance(source, Split):
        preprocessing = fitted(train.inputs, "dataset")
        train = replace(train, preprocessing=preprocessing)
        test = replace(test, preprocessing=preprocessing)
    return replace(train, half="train"), replace(test, half="test")


def _preprocessing(examples: Examples, reading: Reading) -> Preprocessing:
    return reading.preprocessing or fitted(examples.inputs, reading.standardize)


def _split(
    examples: Examples,
    classes: Classes | None,
    preprocessing: Preprocessing,
    *,
    name: str,
    half: Half,
) -> Split:
    if classes is None:
        targets = real_targets(examples.targets, where=examples.where)
    else:
        targets = classes.encode(examples.targets, where=examples.where)
    inputs = examples.inputs
    return Split(
        inputs=inputs,
        targets=targets.to(inputs.device) if isinstance(inputs, Tensor) else targets,
        num_classes=None if classes is None else classes.num_classes,
        half=half,
        name=name,
        class_names=None if classes is None else classes.class_names,
        files=examples.files,
        preprocessing=preprocessing,
    )


def _checked(split: Split) -> Split:
    if isinstance(split.inputs, Tensor):
        check_finite(split.inputs, where=f"`{split.name}`")
    return split


def _check_halves(train: Split, test: Split) -> None:
    check_classes(train, test)
    pairs = (
        ("the shape of an example", train.inputs.shape[1:], test.inputs.shape[1:]),
        ("the dtype of the inputs", train.inputs.dtype, test.inputs.dtype),
        ("the number of classes", train.num_classes, test.num_classes),
        ("the shape of a target", train.targets.shape[1:], test.targets.shape[1:]),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            shown = [tuple(v) if isinstance(v, (tuple, list)) else v for v in (ours, theirs)]
            raise DataError(
                f"`{train.name}` must have {what} in common between its halves; got {shown[0]} for "
                f"train and {shown[1]} for test."
            )
