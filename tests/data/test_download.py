"""Property: what lies under an official name is whole. Oracle: a local server and its bytes."""

import hashlib
import http.server
import io
import tarfile
import threading
from functools import partial

import pytest

from gengap._errors import DataError
from gengap.data import BuiltIn, DataFile, Preprocessing, _download as download, get, load

pytestmark = pytest.mark.global_rng("random")  # rich draws from it while it is imported

A, B = b"first file " * 9000, bytes(range(256)) * 50
DEAD = "http://127.0.0.1:9"  # the discard port: nothing listens


def data_file(name, content):
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return DataFile(name=name, num_bytes=len(content), md5=md5)


def entry(files, archive=None):
    return BuiltIn(
        name="toy", description="", licence="", citation="", num_train=1, num_test=1,
        shape=(1, 1, 1), class_names=("a", "b"), preprocessing=Preprocessing(), folder="toy",
        files=files, archive=archive, mirrors=(),
    )  # fmt: skip


FILES = (data_file("a.bin", A), data_file("b.bin", B))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Endless(Quiet):
    """Sends far more than any file has; not quite without end, for the disk's sake."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(500):
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass


class Broken(Quiet):
    """Promises more than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(A)))
        self.end_headers()
        self.wfile.write(A[:1000])


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(folder, handler=Quiet):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(handler, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def good(tmp_path, serve):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(A)
    (folder / "b.bin").write_bytes(B)
    return serve(folder)


@pytest.fixture
def toy(monkeypatch):
    def use(files=FILES, archive=None):
        monkeypatch.setattr(download, "built_in", lambda name: entry(files, archive))

    use()
    return use


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_dead_mirror_is_followed_by_the_next(tmp_path, toy, good):
    folder = get("toy", root=tmp_path, progress=False, mirrors=[DEAD, good + "none/", good])
    assert folder == tmp_path / "toy"
    assert contents(folder) == {"a.bin": A, "b.bin": B}


def test_only_what_is_missing_or_damaged_is_fetched(tmp_path, toy, good):
    folder = get("toy", root=tmp_path, progress=False, mirrors=[good])
    before = (folder / "a.bin").stat().st_mtime_ns
    (folder / "b.bin").write_bytes(B[:-1])
    get("toy", root=tmp_path, progress=False, mirrors=[good])
    assert contents(folder) == {"a.bin": A, "b.bin": B}
    assert (folder / "a.bin").stat().st_mtime_ns == before
    get("toy", root=tmp_path, progress=False, mirrors=[DEAD])  # nothing left to fetch


@pytest.mark.parametrize("bad", [A[:-1] + b"!", A[:-1], A + b"!", b""])
def test_a_wrong_file_is_refused_and_leaves_nothing(tmp_path, toy, serve, bad):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bad)
    (folder / "b.bin").write_bytes(B)
    url = serve(folder)
    with pytest.raises(DataError, match=r"`a.bin` must come whole from one of 1 mirrors") as error:
        get("toy", root=tmp_path, progress=False, mirrors=[url])
    assert url in str(error.value) and "\n" not in str(error.value)
    assert contents(tmp_path / "toy") == {}


@pytest.mark.parametrize("handler", [Endless, Broken])
def test_a_server_that_never_ends_or_breaks_off_is_refused(tmp_path, toy, serve, handler):
    with pytest.raises(DataError, match="must come whole") as error:
        get("toy", root=tmp_path, progress=False, mirrors=[serve(tmp_path, handler)])
    assert ("more bytes than expected" in str(error.value)) == (handler is Endless)
    assert contents(tmp_path / "toy") == {}


def test_a_damaged_file_stays_until_its_replacement_is_whole(tmp_path, toy):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin").write_bytes(b"old")
    with pytest.raises(DataError, match="must come whole"):
        get("toy", root=tmp_path, progress=False, mirrors=[DEAD])
    assert contents(tmp_path / "toy") == {"a.bin": b"old"}


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


@pytest.fixture
def served_tar(tmp_path, serve, toy):
    def start(members, cut=None):
        packed = tar_of(members)[:cut]
        folder = tmp_path / "served"
        folder.mkdir()
        (folder / "toy.tar.gz").write_bytes(packed)
        toy(archive=data_file("toy.tar.gz", packed))
        return serve(folder)

    return start


def test_an_archive_gives_its_expected_members_and_no_others(tmp_path, served_tar):
    url = served_tar([
        ("toy/readme.html", b"hello"), ("../../evil.bin", b"evil"), ("toy/../../evil", b"evil"),
        ("/tmp/a.bin", A), ("toy/b.bin", None), ("./toy/a.bin", A), ("toy/b.bin", B),
    ])  # fmt: skip
    folder = get("toy", root=tmp_path / "deep" / "root", progress=False, mirrors=[url])
    assert contents(folder) == {"a.bin": A, "b.bin": B}
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"toy.tar.gz", "a.bin", "b.bin"}  # the archive is the served one
    assert not (folder / "toy.tar.gz").exists()


@pytest.mark.parametrize(
    ("members", "cut", "message"),
    [
        ([("toy/a.bin", A)], None, r"must hold `toy/b.bin` of 12800 bytes"),
        ([("toy/a.bin", A), ("toy/b.bin", B + b"!")], None, "must hold `toy/b.bin`"),
        ([("toy/a.bin", A), ("toy/b.bin", None)], None, "must hold `toy/b.bin`"),
        ([("toy/a.bin", A[:-1] + b"!"), ("toy/b.bin", B)], None, "archive must have the MD5"),
        ([("toy/a.bin", A), ("toy/b.bin", B)], 200, "must be a whole tar archive"),
    ],
)  # fmt: skip
def test_a_wrong_archive_leaves_no_wrong_file(tmp_path, served_tar, members, cut, message):
    url = served_tar(members, cut)
    with pytest.raises(DataError, match=message):
        get("toy", root=tmp_path, progress=False, mirrors=[url])
    left = contents(tmp_path / "toy")
    assert left in ({}, {"a.bin": A})


def test_an_unwritable_place_is_one_sentence(tmp_path, toy, good):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="must be writable and have room"):
        get("toy", root=tmp_path / "file", progress=False, mirrors=[good])


def test_digits_need_no_download(tmp_path):
    assert get("digits", root=tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_the_real_mnist_comes_through_a_mirror_and_loads(tmp_path, serve, data_root):
    url = serve(data_root / "mnist")
    get("mnist", root=tmp_path, progress=True, mirrors=[DEAD, url])
    train, _ = load("mnist", root=tmp_path)
    assert len(train) == 60_000


@pytest.mark.data
def test_a_mirror_with_the_wrong_data_set_is_refused(tmp_path, serve, data_root):
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        get("mnist", root=tmp_path, progress=False, mirrors=[serve(data_root / "fashion-mnist")])
    assert list((tmp_path / "mnist").iterdir()) == []
