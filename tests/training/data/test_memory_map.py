"""Images that do not fit into memory are read from disk, and nobody who asks for some can tell."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from patience import PATIENCE_S

from training.data import ImageSet, ImagesOnDisk, MemoryBudget, split_train_validation


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (50, 3, 9, 11), dtype=np.uint8)


@pytest.fixture
def on_disk(pixels, tmp_path):
    """The same in a file, written in parts of seven."""
    budget = MemoryBudget(memory_bytes=0, folder=tmp_path / "spool")
    chunks = (pixels[start : start + 7] for start in range(0, 50, 7))
    return budget.gather(chunks, count=50, image_shape=(3, 9, 11))


def test_small_sets_lie_in_memory_and_large_ones_on_disk(pixels, tmp_path):
    kinds = [
        type(MemoryBudget(size, tmp_path).gather(iter([pixels]), count=50, image_shape=(3, 9, 11)))
        for size in (pixels.nbytes, pixels.nbytes - 1)
    ]
    assert kinds == [torch.Tensor, ImagesOnDisk]


def test_large_images_lie_on_disk_however_few_they_are(tmp_path):
    """The splits of a run copy images in memory, and of large ones some hundred are hundreds of megabytes."""
    for side, kind in ((64, torch.Tensor), (65, ImagesOnDisk)):
        pixels = np.zeros((2, 3, side, side), np.uint8)
        gathered = MemoryBudget(folder=tmp_path).gather(iter([pixels]), count=2, image_shape=(3, side, side))
        assert type(gathered) is kind


#: Reads a set of images twice as batches would, and prints the growth of the resident pages of files in kB.
RESIDENT = """
import re, sys
from pathlib import Path
import numpy as np, torch
from training.data import MemoryBudget

def resident_kb():
    return int(re.search(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

torch.set_num_threads(1)
chunk = np.full((10, 3, 128, 128), 7, np.uint8)
count = int(sys.argv[1])
images = MemoryBudget(folder=Path(sys.argv[2])).gather(
    (chunk for _ in range(count // 10)), count=count, image_shape=(3, 128, 128)
)
total, before = int(images[:16].sum()), resident_kb()
for start in range(0, 2 * count, 16):
    total += int(images[torch.arange(start, start + 16) % count].sum())
print(resident_kb() - before)
"""


def test_reading_ten_times_as_many_large_images_takes_no_more_resident_memory(tmp_path):
    """Mapped pages count as resident until they are given back: the larger set has 79 MB."""
    grown_kb = []
    for count in (160, 1600):
        done = subprocess.run(
            [sys.executable, "-c", RESIDENT, str(count), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        grown_kb.append(int(done.stdout))
    assert max(grown_kb) < 8 * 1024, grown_kb


def test_slices_and_indices_give_what_a_tensor_would(pixels, on_disk):
    whole = torch.from_numpy(pixels)
    assert on_disk.shape == whole.shape
    assert len(on_disk) == 50
    for index in (slice(None, 4), slice(40, 60), torch.tensor([49, 0, 7, 7])):
        assert torch.equal(on_disk[index], whole[index])
    assert torch.equal(on_disk.select(torch.tensor([5, 3, 1]))[torch.tensor([2, 0])], whole[[1, 5]])


def test_sets_on_disk_have_the_fingerprint_digests_and_parts_of_those_in_memory(pixels, on_disk):
    memory = ImageSet("x", torch.from_numpy(pixels), torch.arange(50))
    disk = ImageSet("x", on_disk, torch.arange(50))
    assert disk.fingerprint == memory.fingerprint
    assert np.array_equal(disk.digests, memory.digests)
    for ours, theirs in zip(
        split_train_validation(disk, validation_size=9, seed=4),
        split_train_validation(memory, validation_size=9, seed=4),
        strict=True,
    ):
        assert isinstance(ours.images, ImagesOnDisk)
        assert torch.equal(ours.images[:], theirs.images[:])
        assert torch.equal(ours.labels, theirs.labels)


def test_nothing_is_left_on_disk(on_disk, tmp_path):
    """Not even while it is in use, so that a killed process leaves nothing either."""
    assert list((tmp_path / "spool").iterdir()) == []
    assert on_disk[:1].shape == (1, 3, 9, 11)


def test_what_is_given_may_be_written_to_and_changes_nothing(pixels, on_disk):
    on_disk[:2].zero_()
    assert torch.equal(on_disk[:2], torch.from_numpy(pixels[:2]))


#: An epoch over 164 MB of images, with 64 MB of data allowed beyond what the libraries take.
EPOCH = """
import resource, sys
from pathlib import Path
import torch
from training.fitting.batches import OrderedBatches, ShuffledBatches
from training.config.sections import DataConfig
from training.data import MemoryBudget, load_images, split_train_validation

torch.set_num_threads(1)
folder, memory_bytes = Path(sys.argv[1]), int(sys.argv[2])
in_use = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (in_use + 64 * 2**20,) * 2)
budget = MemoryBudget(memory_bytes, folder)
data = load_images(folder / "large.npz", DataConfig(dataset="given"), budget=budget)
train, validation = split_train_validation(data.train, validation_size=0.1, seed=0)
served = sum(len(batch) for batch in ShuffledBatches(train.images, batch_size=256, seed=0))
served += sum(len(batch) for batch in OrderedBatches(validation.images, batch_size=256))
assert served > 140_000 and len(data.test) > 15_000 and data.train.fingerprint
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """160,000 pictures of 32 × 32 pixels that differ in four of them."""
    folder = tmp_path_factory.mktemp("large")
    images = np.zeros((160_000, 32, 32), np.uint8)
    images[:, 0, :4] = np.arange(160_000, dtype="<u4").view(np.uint8).reshape(-1, 4)
    np.savez(folder / "large.npz", images=images)
    return folder


@pytest.mark.parametrize(("memory_bytes", "fits"), [(16 * 2**20, True), (2**40, False)])
def test_an_epoch_over_more_than_memory_takes_no_more_memory(large, memory_bytes, fits):
    """The second case is the twin: read whole, the same images break the same limit."""
    done = subprocess.run(
        [sys.executable, "-c", EPOCH, str(large), str(memory_bytes)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode == 0) is fits, done.stdout + done.stderr
    if not fits:
        assert "MemoryError" in done.stderr or "can't allocate memory" in done.stderr
