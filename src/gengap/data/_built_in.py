"""The table of built-in data sets: files, checksums, mirrors, classes, preprocessing."""

from dataclasses import dataclass
from typing import final

from gengap._checks import check_choice

from ._preprocessing import Preprocessing


@final
@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One official file.

    Attributes:
        name: File name inside the data set's folder.
        num_bytes: Its exact size.
        md5: Its MD5, as its publishers give it.
    """

    name: str
    num_bytes: int
    md5: str


@final
@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """One built-in data set.

    Attributes:
        name: What `gengap.load` calls it.
        description: One line on what it is.
        licence: Under what it is published.
        citation: Whom to cite.
        num_train: Examples in the train half.
        num_test: Examples in the test half.
        shape: Shape of one stored image, (channels, height, width), unsigned bytes.
        class_names: The classes, in the order of their labels.
        preprocessing: The default way from stored images to network inputs.
        folder: Where the files lie below a root; "" if the data set needs no files.
        files: The files that are read.
        archive: The archive that holds the files, if they are published in one.
        mirrors: Addresses of folders that hold the files or the archive, best first.
    """

    name: str
    description: str
    licence: str
    citation: str
    num_train: int
    num_test: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    folder: str = ""
    files: tuple[DataFile, ...] = ()
    archive: DataFile | None = None
    mirrors: tuple[str, ...] = ()

    @property
    def download_bytes(self) -> int:
        """How much `gengap data get` fetches."""
        if self.archive is not None:
            return self.archive.num_bytes
        return sum(file.num_bytes for file in self.files)


_DIGITS = tuple("0123456789")


def _file(name: str, num_bytes: int, md5: str) -> DataFile:
    return DataFile(name=name, num_bytes=num_bytes, md5=md5)


# Means and standard deviations are those of the train half, after scaling.
_BUILT_IN = (
    BuiltIn(
        name="digits",
        description="8x8 grey images of handwritten digits; comes with scikit-learn",
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI",
        num_train=1437,
        num_test=360,
        shape=(1, 8, 8),
        class_names=_DIGITS,
        preprocessing=Preprocessing(
            scale=16.0, standardize="dataset", mean=(0.3055,), std=(0.3762,)
        ),
    ),
    BuiltIn(
        name="mnist",
        description="28x28 grey images of handwritten digits",
        licence="none stated; cite the authors",
        citation="LeCun, Bottou, Bengio and Haffner (1998), Proceedings of the IEEE 86(11)",
        num_train=60_000,
        num_test=10_000,
        shape=(1, 28, 28),
        class_names=_DIGITS,
        preprocessing=Preprocessing(
            scale=255.0, standardize="dataset", mean=(0.1307,), std=(0.3081,)
        ),
        folder="mnist",
        files=(
            _file("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            _file("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            _file("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            _file("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    BuiltIn(
        name="fashion-mnist",
        description="28x28 grey images of clothes",
        licence="MIT",
        citation="Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747",
        num_train=60_000,
        num_test=10_000,
        shape=(1, 28, 28),
        class_names=(
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
        preprocessing=Preprocessing(
            scale=255.0, standardize="dataset", mean=(0.2860,), std=(0.3530,)
        ),
        folder="fashion-mnist",
        files=(
            _file("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            _file("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            _file("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            _file("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    BuiltIn(
        name="cifar-10",
        description="32x32 colour images of ten kinds of things",
        licence="none stated; cite the author",
        citation="Krizhevsky (2009), Learning multiple layers of features from tiny images",
        num_train=50_000,
        num_test=10_000,
        shape=(3, 32, 32),
        class_names=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        preprocessing=Preprocessing(scale=255.0, crop=28, standardize="image"),
        folder="cifar-10-batches-bin",
        files=(
            _file("data_batch_1.bin", 30_730_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
            _file("data_batch_2.bin", 30_730_000, "5ea93a67294ea407fff1d09f752e9692"),
            _file("data_batch_3.bin", 30_730_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
            _file("data_batch_4.bin", 30_730_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
            _file("data_batch_5.bin", 30_730_000, "53f37980c15c3d472c316c40844f3f0d"),
            _file("test_batch.bin", 30_730_000, "803d5f7f4d78ea53de84dbe85f74fb6d"),
        ),
        archive=_file("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
    ),
)


def names() -> dict[str, BuiltIn]:
    """Return the built-in data sets by name: what there is, how large, whom to cite.

    Examples:
        >>> list(names())
        ['digits', 'mnist', 'fashion-mnist', 'cifar-10']
    """
    return {built_in.name: built_in for built_in in _BUILT_IN}


def built_in(name: str) -> BuiltIn:
    """Return one entry of the table.

    Raises:
        ValueError: If there is no such data set.
    """
    known = names()
    check_choice("name", name, known)
    return known[name]
