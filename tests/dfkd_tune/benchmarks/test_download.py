"""Downloads over real HTTP from a server of this process."""

import fcntl
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks import (
    BENCHMARKS,
    DOWNLOADS,
    BenchmarkConfig,
    download_benchmark,
    open_benchmark,
)
from dfkd_tune.benchmarks._download import Download
from dfkd_tune.errors import DataError, StorageError, UnknownNameError, UsageError

OneLine = Callable[[BaseException], str]


@dataclass
class Host:
    """What the server has, and what it was asked.

    Args:
        files: content by path.
        cut: bytes after which the next answer to GET breaks off, once each.
        codes: answers to the next requests of GET instead of content, once each.
        ranges: whether parts of files are given.
        sizes: whether HEAD is answered.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    ranges: bool = True
    sizes: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def download(self, kind: str, *names: str, **fields: object) -> Download:
        return Download(
            urls=tuple(f"{self.address}/{name}" for name in names),
            md5s=tuple(hashlib.md5(self.files.get(f"/{name}", b"")).hexdigest() for name in names),
            kind=kind,  # type: ignore[arg-type]
            **fields,  # type: ignore[arg-type]
        )

    @property
    def gets(self) -> list[str | None]:
        """The range of every GET."""
        return [asked for method, _, asked in self.asked if method == "GET"]


def handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            host.asked.append(("HEAD", self.path, None))
            content = host.files.get(self.path)
            if not host.sizes or content is None:
                self.send_error(404 if content is None else 405)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.headers["Range"]
            host.asked.append(("GET", self.path, asked))
            content = host.files.get(self.path)
            if host.codes:
                self.send_error(host.codes.pop(0))
                return
            if content is None:
                self.send_error(404)
                return
            start = 0
            if asked and host.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content)
            if host.cut:
                end = start + host.cut.pop(0)
            self.wfile.write(content[start:end])
            if end < len(content):
                self.wfile.flush()
                self.connection.close()

    return Handler


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(host))
    # Broken connections are part of the tests.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    host.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def quiet(_done: int, _all: int) -> None:
    pass


def fetch(name: str, root: Path, download: Download, progress: Callable[..., None] = quiet) -> None:
    download_benchmark(name, root, progress, download=download, wait_seconds=0)


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def cifar10() -> dict[str, bytes]:
    """CIFAR-10 in small, as its archive holds it."""
    batch = {"data": np.zeros((20, 3072), np.uint8), "labels": [*range(10)] * 2}
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = dict.fromkeys(names, pickle.dumps(batch))
    files["batches.meta"] = pickle.dumps({"label_names": [f"class_{n}" for n in range(10)]})
    return {f"cifar-10-batches-py/{name}": content for name, content in files.items()}


def mnist() -> dict[str, bytes]:
    """MNIST in small: four compressed files."""
    images = bytes((0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 28, 0, 0, 0, 28)) + bytes(60 * 28 * 28)
    labels = bytes((0, 0, 8, 1, 0, 0, 0, 60)) + bytes(range(10)) * 6
    return {
        f"{part}-{kind}-ubyte.gz": gzip.compress(content)
        for part in ("train", "t10k")
        for kind, content in (("images-idx3", images), ("labels-idx1", labels))
    }


@pytest.fixture
def small_cifar10(host: Host) -> Download:
    host.files["/cifar-10-python.tar.gz"] = tar_of(cifar10())
    return host.download("tar", "cifar-10-python.tar.gz", folders=("cifar-10-batches-py",))


def everything(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


# ------------------------------------------------------------------ what goes well


def test_an_archive_is_fetched_checked_unpacked_and_opened(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    root = tmp_path / "data" / "cifar10"
    told: list[tuple[int, int]] = []
    fetch("cifar10", root, small_cifar10, lambda done, of: told.append((done, of)))
    assert everything(root) == sorted(["cifar-10-batches-py", *cifar10()])
    size = len(host.files["/cifar-10-python.tar.gz"])
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    assert told == sorted(told)
    assert open_benchmark(BenchmarkConfig(name="cifar10", root=root)).counts["test"] == 20


def test_several_files_are_fetched_as_they_are(tmp_path: Path, host: Host) -> None:
    host.files = {f"/{name}": content for name, content in mnist().items()}
    told: list[tuple[int, int]] = []
    fetch(
        "mnist",
        tmp_path,
        host.download("files", *mnist()),
        lambda done, of: told.append((done, of)),
    )
    assert everything(tmp_path) == sorted(mnist())
    size = sum(len(content) for content in mnist().values())
    assert told[-1] == (size, size)
    assert told == sorted(told)
    assert open_benchmark(BenchmarkConfig(name="mnist", root=tmp_path)).counts["test"] == 60


def test_an_archive_in_an_archive_is_unpacked(tmp_path: Path, host: Host) -> None:
    inner = tar_of({"101_ObjectCategories/ant/image_0001.jpg": b"x"})
    other = tar_of({"Annotations/ant/annotation_0001.mat": b"y"}, "w")
    members = {
        "caltech-101/101_ObjectCategories.tar.gz": inner,
        "caltech-101/Annotations.tar": other,
        "__MACOSX/caltech-101/._Annotations.tar": b"z",
    }
    host.files["/caltech-101.zip"] = zip_of(members)
    download = host.download("zip", "caltech-101.zip", folders=("101_ObjectCategories",))
    fetch("caltech101", tmp_path, download)
    assert everything(tmp_path)[-1] == "101_ObjectCategories/ant/image_0001.jpg"
    assert len(everything(tmp_path)) == 3


def test_a_host_without_sizes_is_no_problem(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    host.sizes = False
    told: list[tuple[int, int]] = []
    fetch("cifar10", tmp_path, small_cifar10, lambda done, of: told.append((done, of)))
    assert told[-1] == (len(host.files["/cifar-10-python.tar.gz"]), 0)


@pytest.mark.parametrize("layout", ["original", "tree"])
def test_nothing_is_asked_or_written_where_it_is_complete(
    tmp_path: Path, small_cifar10: Download, host: Host, layout: str, tree: Callable[..., Path]
) -> None:
    if layout == "original":
        root = tmp_path / "root"
        fetch("cifar10", root, small_cifar10)
    else:
        root = tree("root")
    host.asked.clear()
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    fetch("cifar10", root, small_cifar10)
    assert host.asked == []
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


# ------------------------------------------------------------------ going on


def test_a_broken_connection_goes_on_where_it_broke(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    host.cut = [100, 50]
    fetch("cifar10", tmp_path, small_cifar10)
    assert host.gets == [None, "bytes=100-", "bytes=150-"]
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()


def test_a_partial_file_of_an_earlier_call_is_gone_on_with(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    host.cut = [100, 0, 0, 0, 0]
    with pytest.raises(DataError, match="repeat the command, which keeps what was fetched"):
        fetch("cifar10", tmp_path, small_cifar10)
    partial = tmp_path / ".download" / "cifar-10-python.tar.gz.partial"
    assert partial.stat().st_size == 100
    host.asked.clear()
    told: list[int] = []
    fetch("cifar10", tmp_path, small_cifar10, lambda done, _of: told.append(done))
    assert host.gets == ["bytes=100-"]
    assert told[0] == 100
    assert "cifar-10-batches-py" in everything(tmp_path)
    assert not (tmp_path / ".download").exists()


def test_a_finished_file_is_not_fetched_again(tmp_path: Path, host: Host) -> None:
    host.files = {f"/{name}": content for name, content in mnist().items()}
    download = host.download("files", *mnist())
    gone = host.files.pop("/t10k-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="answered 404"):
        fetch("mnist", tmp_path, download)
    # Nothing is in place before all is there.
    assert [name for name in everything(tmp_path) if "/" not in name] == [".download"]
    host.files["/t10k-images-idx3-ubyte.gz"] = gone
    host.asked.clear()
    fetch("mnist", tmp_path, download)
    asked = [path for method, path, _ in host.asked if method == "GET"]
    assert asked == ["/t10k-images-idx3-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]


def test_a_host_that_gives_no_parts_is_begun_again(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    host.cut, host.ranges = [100], False
    fetch("cifar10", tmp_path, small_cifar10)
    assert host.gets == [None, "bytes=100-"]
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()


def test_a_file_that_was_whole_when_the_process_ended_is_used(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    partial = tmp_path / ".download" / "cifar-10-python.tar.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(host.files["/cifar-10-python.tar.gz"])
    fetch("cifar10", tmp_path, small_cifar10)
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()


def test_a_partial_file_of_something_else_is_begun_again(
    tmp_path: Path, small_cifar10: Download, host: Host
) -> None:
    partial = tmp_path / ".download" / "cifar-10-python.tar.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"another beginning")
    fetch("cifar10", tmp_path, small_cifar10)
    assert host.gets == ["bytes=17-", None]
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()


def test_a_busy_host_is_asked_again(tmp_path: Path, small_cifar10: Download, host: Host) -> None:
    host.codes = [503, 429]
    fetch("cifar10", tmp_path, small_cifar10)
    assert host.gets == [None, None, None]


# ------------------------------------------------------------------ what goes wrong


def test_a_wrong_checksum_is_said_and_the_file_removed(
    tmp_path: Path, small_cifar10: Download, host: Host, one_line: OneLine
) -> None:
    host.files["/cifar-10-python.tar.gz"] += b"!"
    with pytest.raises(DataError, match="is not the file that was published: its MD5 is") as caught:
        fetch("cifar10", tmp_path / "root", small_cifar10)
    assert small_cifar10.md5s[0] in one_line(caught.value)
    assert host.gets == [None]
    # Not even the folder stays.
    assert everything(tmp_path) == []


def test_a_missing_file_is_said_at_once(
    tmp_path: Path, small_cifar10: Download, host: Host, one_line: OneLine
) -> None:
    host.files.clear()
    with pytest.raises(DataError, match=r"cannot download .* it answered 404 Not Found") as caught:
        fetch("cifar10", tmp_path / "a" / "root", small_cifar10)
    assert small_cifar10.urls[0] in one_line(caught.value)
    assert host.gets == [None]
    assert everything(tmp_path) == []


def test_a_host_that_does_not_answer_is_said(tmp_path: Path, one_line: OneLine) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    download = Download(urls=(f"http://127.0.0.1:{port}/a.tgz",), md5s=("0",), kind="tar")
    with pytest.raises(DataError, match="refused, 5 times; check the network") as caught:
        fetch("cifar10", tmp_path / "root", download)
    one_line(caught.value)
    assert everything(tmp_path) == []


def test_an_unknown_host_is_said_at_once(tmp_path: Path, one_line: OneLine) -> None:
    download = Download(urls=("http://no-such-host.invalid/a.tgz",), md5s=("0",), kind="tar")
    with pytest.raises(DataError, match=r"cannot download http://no-such-host\.invalid") as caught:
        fetch("cifar10", tmp_path / "root", download)
    assert "check the network" in one_line(caught.value)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "cifar-10-batches-py/../../evil"])
def test_a_tar_that_leaves_its_folder_is_refused(
    tmp_path: Path, host: Host, name: str, one_line: OneLine
) -> None:
    host.files["/a.tar.gz"] = tar_of({**cifar10(), name: b"evil"})
    download = host.download("tar", "a.tar.gz", folders=("cifar-10-batches-py",))
    with pytest.raises(DataError, match=r"a.tar.gz wants to write outside its folder") as caught:
        fetch("cifar10", tmp_path / "root", download)
    one_line(caught.value)
    assert everything(tmp_path) == []


def test_a_tar_with_a_link_out_of_its_folder_is_refused(tmp_path: Path, host: Host) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
    host.files["/a.tar.gz"] = stream.getvalue()
    download = host.download("tar", "a.tar.gz", folders=("cifar-10-batches-py",))
    with pytest.raises(DataError, match="wants to write outside its folder"):
        fetch("cifar10", tmp_path / "root", download)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil"])
def test_a_zip_that_leaves_its_folder_is_refused(
    tmp_path: Path, host: Host, name: str, one_line: OneLine
) -> None:
    host.files["/a.zip"] = zip_of({"101_ObjectCategories/a": b"", name: b"evil"})
    download = host.download("zip", "a.zip", folders=("101_ObjectCategories",))
    with pytest.raises(DataError, match=r"a.zip wants to write outside its folder") as caught:
        fetch("caltech101", tmp_path / "root", download)
    one_line(caught.value)
    assert everything(tmp_path) == []


@pytest.mark.parametrize(("kind", "name"), [("tar", "cifar10"), ("zip", "caltech101")])
@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00 and nonsense" * 9])
def test_a_damaged_archive_is_said(
    tmp_path: Path, host: Host, kind: str, name: str, content: bytes, one_line: OneLine
) -> None:
    host.files["/a.bin"] = content
    with pytest.raises(DataError, match=r"the archive a\.bin is damaged") as caught:
        fetch(name, tmp_path / "root", host.download(kind, "a.bin", folders=("x",)))
    one_line(caught.value)
    assert everything(tmp_path) == []


def test_an_archive_of_something_else_is_said(tmp_path: Path, host: Host) -> None:
    host.files["/a.tar.gz"] = tar_of({"other/file": b""})
    download = host.download("tar", "a.tar.gz", folders=("cifar-10-batches-py",))
    with pytest.raises(DataError, match="holds no folder cifar-10-batches-py"):
        fetch("cifar10", tmp_path / "root", download)


def test_an_incomplete_copy_is_not_overwritten(
    tmp_path: Path, small_cifar10: Download, host: Host, one_line: OneLine
) -> None:
    kept = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    kept.parent.mkdir()
    kept.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"is there and cannot be used .*; remove it") as caught:
        fetch("cifar10", tmp_path, small_cifar10)
    one_line(caught.value)
    assert host.asked == []
    assert kept.read_bytes() == b"mine"


def test_a_file_in_the_way_is_said_before_anything_is_asked(
    tmp_path: Path, small_cifar10: Download, host: Host, one_line: OneLine
) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="file is a file; give a folder") as caught:
            fetch("cifar10", root, small_cifar10)
        one_line(caught.value)
    assert host.asked == []


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_asked(
    tmp_path: Path,
    small_cifar10: Download,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    one_line: OneLine,
) -> None:
    # The rights themselves bind no superuser.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match=r"cannot write into .*; change its rights") as caught:
        fetch("cifar10", tmp_path / "root", small_cifar10)
    one_line(caught.value)
    assert host.asked == []
    assert everything(tmp_path) == []


def test_a_full_disk_is_said(
    tmp_path: Path, small_cifar10: Download, monkeypatch: pytest.MonkeyPatch, one_line: OneLine
) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(StorageError, match="No space left on device; free space") as caught:
        fetch("cifar10", tmp_path, small_cifar10)
    one_line(caught.value)
    # What was fetched stays, what was unpacked goes.
    assert everything(tmp_path / ".download") == ["cifar-10-python.tar.gz", "lock"]


def test_two_at_once_are_refused(tmp_path: Path, small_cifar10: Download, host: Host) -> None:
    (tmp_path / ".download").mkdir()
    with (tmp_path / ".download" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process is downloading into"):
            fetch("cifar10", tmp_path, small_cifar10)
    assert host.asked == []
    fetch("cifar10", tmp_path, small_cifar10)


# ------------------------------------------------------------------ the registry


def test_every_download_is_of_a_benchmark_that_can_read_it() -> None:
    for name, download in DOWNLOADS.items():
        assert BENCHMARKS[name].read is not None
        assert len(download.urls) == len(download.md5s) == len(set(download.names()))
        for md5 in download.md5s:
            assert len(bytes.fromhex(md5)) == 16
        assert bool(download.folders) == (download.kind != "files")
    assert set(BENCHMARKS) - set(DOWNLOADS) == {"digits", "cars196"}


def test_what_torchvision_knows_is_the_same() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN, FashionMNIST

    for name, theirs in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        assert DOWNLOADS[name].urls == (theirs.url,)
        assert DOWNLOADS[name].md5s == (theirs.tgz_md5,)
    for name, theirs in (("mnist", MNIST), ("fashion_mnist", FashionMNIST)):
        resources = list(zip(DOWNLOADS[name].names(), DOWNLOADS[name].md5s, strict=True))
        assert resources == theirs.resources
        assert DOWNLOADS[name].urls[0].startswith(theirs.mirrors[0])
    ours = DOWNLOADS["svhn"]
    for index, split in enumerate(("train", "test")):
        found = [ours.urls[index], ours.names()[index], ours.md5s[index]]
        assert found == SVHN.split_list[split]


def test_cars_have_no_host_any_more(tmp_path: Path, one_line: OneLine) -> None:
    with pytest.raises(DataError, match="its original host is gone; put a copy into") as caught:
        download_benchmark("cars196", tmp_path / "cars", quiet)
    message = one_line(caught.value)
    assert str(tmp_path / "cars") in message
    assert "cars_train/" in message
    assert everything(tmp_path) == []


def test_digits_need_no_download(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'digits' needs no download"):
        download_benchmark("digits", tmp_path, quiet)


def test_an_unknown_name_is_answered_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cifar10'"):
        download_benchmark("cifar", tmp_path, quiet)
