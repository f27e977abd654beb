"""Twin: the verbs print what the library's functions return; broken files give exit code 1."""

import json
import shutil

import pytest

from gengap import data
from gengap.cli import main


def test_list_names_every_data_set(capsys):
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(data.names())


def test_list_as_json_is_json_alone(capsys):
    assert main(["data", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    cifar = next(row for row in rows if row["name"] == "cifar-10")
    assert (cifar["train"], cifar["test"], cifar["shape"]) == (50_000, 10_000, [3, 32, 32])
    assert cifar["classes"][0] == "airplane"


def test_get_digits_needs_nothing(capsys, tmp_path):
    assert main(["data", "get", "digits", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "digits", "folder": "comes with scikit-learn"}
    ]
    assert list(tmp_path.iterdir()) == []


def test_get_asks_the_library_once_a_name(capsys, monkeypatch, tmp_path):
    calls = []

    def get(name, *, root, progress):
        calls.append((name, root, progress))
        return root / name

    monkeypatch.setattr(data, "get", get)
    assert main(["data", "get", "mnist", "cifar-10", "--root", str(tmp_path)]) == 0
    assert calls == [("mnist", tmp_path, True), ("cifar-10", tmp_path, True)]
    out = capsys.readouterr().out
    assert out == f"mnist: {tmp_path / 'mnist'}\ncifar-10: {tmp_path / 'cifar-10'}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get"], "got none"),
        (["get", "mnist", "minst"], "got 'minst'"),
        (["verify", "minst"], "got 'minst'"),
        (["grab"], "`gengap data` has no verb 'grab'"),
        (["list", "mnist"], "mnist"),
    ],
)
def test_wrong_words_are_one_sentence(words, message, capsys):
    assert main(["data", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_verify_what_is_not_there_is_a_failed_check(capsys, tmp_path):
    assert main(["data", "verify", "mnist", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("is missing") == 4


def test_verify_without_names_passes_over_what_is_not_here(capsys, tmp_path):
    assert main(["data", "verify", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "digits" in out
    assert "Not here, and not checked: mnist, fashion-mnist, cifar-10." in out


def test_verify_without_names_sees_a_damaged_file(capsys, tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"short")
    assert main(["data", "verify", "--root", str(tmp_path), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    damaged = [row for row in rows if row["what"].startswith("must have")]
    assert [row["data"] for row in damaged] == ["mnist"]


@pytest.mark.data
def test_verify_real_files(data_root, capsys, tmp_path):
    assert main(["data", "verify", "mnist", "--root", str(data_root)]) == 0
    assert capsys.readouterr().out.count("yes") == 4
    shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(labels.read_bytes())
    content[100] ^= 1
    labels.write_bytes(content)
    assert main(["data", "verify", "mnist", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("yes") == 3
