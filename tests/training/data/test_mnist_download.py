"""Downloads resume, are checked by their content, and never leave a wrong file under a right name.

Only a server on the loopback interface is asked.
"""

import fcntl
import gzip
import pwd
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from patience import PATIENCE_S

from training.data import idx_folder, load_mnist, mnist_download
from training.data.cache import default_cache_dir
from training.data.mnist_download import cached_mnist, ensure_mnist
from training.errors import DataError

from .conftest import STEMS

IMAGES = f"{STEMS[0]}.gz"


class Mirror:
    """A server of the small MNIST whose manners can be spoilt, file by file."""

    def __init__(self, folder):
        self.files = {f"{stem}.gz": (folder / f"{stem}.gz").read_bytes() for stem in STEMS}
        self.requests = []
        self.cuts = {}  # file → how many bytes to send in each coming answer before hanging up
        self.ignores_range = False
        self.statuses = {}  # file → status to answer with
        self.lies_about_range = False
        self.gate = None  # an event each answer waits for
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, handler):
        name = handler.path.rsplit("/", 1)[1]
        asked = handler.headers.get("Range")
        self.requests.append((name, asked))
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        handler.close_connection = True
        if name in self.statuses:
            handler.send_error(self.statuses[name])
            return
        body, start = self.files[name], 0
        if asked and not self.ignores_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                handler.send_error(416)
                return
        handler.send_response(206 if start else 200)
        if start:
            stated = start + 1 if self.lies_about_range else start
            handler.send_header("Content-Range", f"bytes {stated}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        end = start + self.cuts[name].pop(0) if self.cuts.get(name) else None
        handler.wfile.write(body[start:end])

    def asked_for(self, name):
        return [asked for requested, asked in self.requests if requested == name]


@pytest.fixture
def make_mirror(mnist_folder, small_sha256, monkeypatch):
    """Mirrors of the small MNIST, which stands in for the original."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for module in (mnist_download, idx_folder):
        monkeypatch.setattr(module, "MNIST_SHA256", small_sha256)
    mirrors = []

    def make():
        mirrors.append(Mirror(mnist_folder))
        return mirrors[-1]

    yield make
    for mirror in mirrors:
        mirror.close()


@pytest.fixture
def mirror(make_mirror):
    return make_mirror()


def ensure(tmp_path, *mirrors, **options):
    return ensure_mnist(tmp_path, mirrors=[mirror.url for mirror in mirrors], timeout_s=PATIENCE_S, **options)


def test_downloaded_once_and_then_found(tmp_path, mirror):
    assert cached_mnist(tmp_path) is None
    folder = ensure(tmp_path, mirror)
    assert len(mirror.requests) == 4
    assert ensure(tmp_path, mirror) == folder == cached_mnist(tmp_path)
    assert len(mirror.requests) == 4
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", *mirror.files])


def test_data_without_a_folder_comes_from_the_download(tmp_path, mirror, monkeypatch):
    lines = []
    monkeypatch.setattr(mnist_download, "MIRRORS", (mirror.url,))
    data = load_mnist(None, tmp_path, tell=lines.append)
    assert (data.name, len(data.train), len(data.test)) == ("mnist", 1600, 400)
    assert lines[0] == f"downloading {mirror.url}{IMAGES}"


def test_cut_connection_goes_on_where_it_stopped(tmp_path, mirror):
    mirror.cuts[IMAGES] = [50_000, 30_000]
    ensure(tmp_path, mirror)
    assert mirror.asked_for(IMAGES) == [None, "bytes=50000-", "bytes=80000-"]


def test_what_arrived_before_a_failure_is_kept_for_the_next_call(tmp_path, mirror):
    mirror.cuts[IMAGES] = [10_000, 10_000, 10_000]
    with pytest.raises(DataError, match="the connection ended after 30,000 of 257,225 bytes"):
        ensure(tmp_path, mirror)
    assert not (tmp_path / "mnist" / IMAGES).exists()
    ensure(tmp_path, mirror)
    assert mirror.asked_for(IMAGES)[-1] == "bytes=30000-"


def test_mirror_that_ignores_the_range_starts_over(tmp_path, mirror):
    mirror.ignores_range = True
    mirror.cuts[IMAGES] = [50_000]
    ensure(tmp_path, mirror)
    assert mirror.asked_for(IMAGES) == [None, "bytes=50000-"]


def test_mirror_that_answers_another_range_is_not_believed(tmp_path, mirror):
    mirror.lies_about_range = True
    mirror.cuts[IMAGES] = [50_000]
    with pytest.raises(DataError, match="asked for bytes from 50,000 on and answered with Content-Range"):
        ensure(tmp_path, mirror)


def test_part_that_is_already_whole_is_taken(tmp_path, mirror):
    """A process killed between the last byte and the rename."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{IMAGES}.part").write_bytes(mirror.files[IMAGES])
    ensure(tmp_path, mirror)
    assert mirror.asked_for(IMAGES) == [f"bytes={len(mirror.files[IMAGES])}-"]


def test_rubbish_left_over_from_another_download_costs_one_more_request(tmp_path, mirror):
    """Halves from mirrors that packed differently do not fit; the answer is to start from nothing."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{IMAGES}.part").write_bytes(b"\x1f\x8b" + bytes(5000))
    folder = ensure(tmp_path, mirror)
    assert mirror.asked_for(IMAGES) == ["bytes=5002-", None]
    assert len(load_mnist(folder).train) == 1600


def test_wrong_content_is_thrown_away_and_the_next_mirror_asked(tmp_path, make_mirror):
    bad, good = make_mirror(), make_mirror()
    spoilt = bytearray(bad.files[IMAGES])
    spoilt[len(spoilt) // 2] ^= 1
    bad.files[IMAGES] = bytes(spoilt)
    folder = ensure(tmp_path, bad, good)
    assert (folder / IMAGES).read_bytes() == good.files[IMAGES]
    assert good.asked_for(IMAGES) == [None]


def test_well_formed_file_with_other_content_is_refused_by_digest(tmp_path, mirror):
    mirror.files[IMAGES] = mirror.files[f"{STEMS[2]}.gz"]
    with pytest.raises(DataError, match="sent other content: expected sha256 33d12e0f"):
        ensure(tmp_path, mirror)
    assert not list((tmp_path / "mnist").glob(f"{IMAGES}*"))


def test_recompressed_file_is_accepted(tmp_path, mirror):
    mirror.files[IMAGES] = gzip.compress(gzip.decompress(mirror.files[IMAGES]), 1)
    ensure(tmp_path, mirror)


def test_body_longer_than_the_file_can_be_is_cut_off(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(mnist_download, "MNIST_SIZE_BYTES", dict.fromkeys(STEMS, 100_000))
    mirror.files[IMAGES] = bytes(400_000)
    with pytest.raises(DataError, match="sent more than 165,536 bytes"):
        ensure(tmp_path, mirror)
    assert all(path.stat().st_size < 200_000 for path in (tmp_path / "mnist").iterdir())


def test_all_reasons_are_listed_when_no_mirror_helps(tmp_path, make_mirror):
    missing, broken = make_mirror(), make_mirror()
    missing.statuses[IMAGES] = 404
    broken.statuses[IMAGES] = 503
    with pytest.raises(DataError) as caught:
        ensure(tmp_path, missing, broken)
    text = str(caught.value)
    assert f"{missing.url}{IMAGES}: answered 404 Not Found" in text
    assert f"{broken.url}{IMAGES}: answered 503 Service Unavailable" in text
    assert "--data" in text


def test_unreachable_mirror_is_told_and_passed_over(tmp_path, mirror):
    lines = []
    # Port 9 of the loopback interface: nothing listens there.
    ensure_mnist(
        tmp_path, mirrors=["http://127.0.0.1:9/", mirror.url], timeout_s=PATIENCE_S, tell=lines.append
    )
    assert any("could not be reached" in line for line in lines)


def test_silent_mirror_is_given_up_after_the_timeout(tmp_path, make_mirror):
    silent, good = make_mirror(), make_mirror()
    silent.gate = threading.Event()
    try:
        # The good one must answer in time as well.
        folder = ensure_mnist(tmp_path, mirrors=[silent.url, good.url], timeout_s=0.5)
    finally:
        silent.gate.set()
    assert len(load_mnist(folder).train) == 1600


def test_damaged_file_in_the_cache_is_downloaded_again(tmp_path, mirror):
    folder = ensure(tmp_path, mirror)
    (folder / IMAGES).write_bytes(mirror.files[IMAGES][:1000])
    lines = []
    ensure(tmp_path, mirror, tell=lines.append)
    assert (folder / IMAGES).read_bytes() == mirror.files[IMAGES]
    assert lines[0] == f"{folder / IMAGES} is damaged; downloading it again"
    assert Counter(name for name, _ in mirror.requests)[IMAGES] == 2


def test_two_at_once_download_once(tmp_path, mirror):
    """Locks belong to open files, so two threads meet here as two processes would."""
    mirror.gate = threading.Event()
    waiting = threading.Event()

    def tell(line):
        if line.startswith("waiting"):
            waiting.set()

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ensure, tmp_path, mirror, tell=tell) for _ in range(2)]
        assert waiting.wait(PATIENCE_S)
        mirror.gate.set()
        assert both[0].result() == both[1].result()
    assert Counter(name for name, _ in mirror.requests) == dict.fromkeys(mirror.files, 1)


def test_waiting_for_another_process_ends(tmp_path, mirror):
    (tmp_path / "mnist").mkdir()
    with (tmp_path / "mnist" / ".lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process has been downloading"):
            ensure(tmp_path, mirror, lock_timeout_s=0.1)
    assert mirror.requests == []


def test_cache_that_cannot_be_made_is_told_with_the_way_out(tmp_path, mirror):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"expected a writable cache.*--data"):
        ensure(tmp_path / "file", mirror)


def test_cache_follows_the_xdg_convention(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "vae-service"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "vae-service"


def test_user_without_a_home_is_told_the_way_out(monkeypatch, mirror):
    """An arbitrary uid of a container: no home, no HOME, and no entry in the list of users."""

    def unknown(uid):
        raise KeyError(uid)

    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(DataError, match=r"no home and HOME is unset.*XDG_CACHE_HOME"):
        ensure(None, mirror)
    assert cached_mnist() is None, "an export goes on without"
