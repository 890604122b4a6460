"""The judge learns to read, the same way from the same seed, and a file that is none is told."""

import json

import pytest
import torch

from training.data import ImageData, ImageSet, load_mnist, to_unit_interval
from training.errors import DataError, RunDirectoryError
from training.judge.classifier import Verdicts, load_judge, look, save_judge
from training.judge.fitting import fit_judge, shifted


@pytest.fixture(scope="module")
def real_digits(mnist_folder):
    """1,600 to learn from, 400 to be asked about."""
    return load_mnist(mnist_folder)


@pytest.fixture(scope="module")
def judge(real_digits):
    """Three passes over 1,600 digits."""
    return fit_judge(real_digits, epochs=3)


def few(digits, count=256):
    return ImageData(name=digits.name, train=digits.train.take(torch.arange(count)), test=digits.test)


def test_judge_learns_to_read_digits(judge, real_digits):
    seen = judge.ask(to_unit_interval(real_digits.test.images))
    accuracy = (seen.labels == real_digits.test.labels).double().mean().item()
    assert judge.facts.accuracy == pytest.approx(accuracy)
    assert accuracy > 0.75  # a guess gives a tenth
    assert judge.facts.protocol == (
        "all 400 images of idx test; fitted on 1,600 images of idx train, 3 epochs, seed 0"
    )
    assert judge.facts.trained_on == real_digits.train.fingerprint
    assert "% accuracy (all 400 images" in str(judge)


def test_same_seed_gives_the_same_judge_whatever_was_drawn_before(digits):
    first = fit_judge(few(digits), epochs=1, seed=5)
    torch.rand(3)
    state = torch.get_rng_state()
    again, other = fit_judge(few(digits), epochs=1, seed=5), fit_judge(few(digits), epochs=1, seed=6)
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator was moved"
    weights, same, different = (each.network.state_dict() for each in (first, again, other))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not torch.equal(weights["head.weight"], different["head.weight"])


def test_progress_is_told_after_each_epoch(digits):
    heard = []
    fit_judge(few(digits), epochs=2, tell=heard.append)
    assert [line.split("  ")[0] for line in heard] == ["epoch 1/2", "epoch 2/2"]


def test_answer_on_an_image_does_not_depend_on_its_company(judge, real_digits):
    x = to_unit_interval(real_digits.test.images[:40])
    together, alone = judge.ask(x), judge.ask(x[7:8])
    torch.testing.assert_close(together.features[7:8], alone.features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.probabilities.sum(dim=-1), torch.ones(40))


def test_readable_means_a_top_probability_of_at_least_a_half():
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8], [0.49, 0.49, 0.02]])
    verdicts = Verdicts(probabilities=probabilities, features=torch.zeros(4, 2))
    assert verdicts.readable == 0.5
    assert verdicts.labels.tolist()[1:3] == [0, 2]


def test_judge_survives_its_file(judge, real_digits, tmp_path):
    save_judge(tmp_path, judge)
    state = torch.get_rng_state()
    again = load_judge(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.facts == judge.facts
    x = to_unit_interval(real_digits.test.images[:5])
    assert torch.equal(again.ask(x).probabilities, judge.ask(x).probabilities)


def test_what_is_no_judge_is_told_with_the_way_to_one(judge, tmp_path):
    with pytest.raises(RunDirectoryError, match="expected a judge, got FileNotFoundError"):
        load_judge(tmp_path)
    save_judge(tmp_path, judge)
    facts = json.loads((tmp_path / "judge.json").read_text())
    (tmp_path / "judge.json").write_text(json.dumps({**facts, "classes": 7}))
    with pytest.raises(RunDirectoryError, match=r"expected a judge, got RuntimeError: .*vae-train judge"):
        load_judge(tmp_path)
    (tmp_path / "judge.json").write_text(json.dumps(facts))
    (tmp_path / "judge.pt").write_bytes(b"PK")
    with pytest.raises(RunDirectoryError, match="expected a judge, got"):
        load_judge(tmp_path)


def test_judge_of_other_images_than_digits_has_their_shape_and_labels():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 3, 10, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(60) % 4
    train = ImageSet(name="noise train", images=images, labels=labels)
    test = ImageSet(name="noise test", images=images[:9], labels=labels[:9])
    judge = fit_judge(ImageData(name="noise", train=train, test=test), epochs=1)
    assert (judge.facts.image_shape, judge.facts.classes) == ((3, 10, 8), 4)
    assert look(judge.network, to_unit_interval(images)).probabilities.shape == (60, 4)


@pytest.mark.parametrize(
    ("labels", "got"), [(None, "none"), (torch.zeros(676, dtype=torch.int64), "one kind")]
)
def test_images_without_labels_to_learn_are_refused(digits, labels, got):
    train = ImageSet(name="bare", images=digits.train.images, labels=labels)
    with pytest.raises(DataError, match=f"bare: expected labels of at least two kinds, got {got}"):
        fit_judge(ImageData(name="bare", train=train, test=digits.test), epochs=1)


def test_shifts_move_whole_pixels_and_let_black_in(generator):
    x = torch.zeros(200, 2, 9, 7)
    x[:, 0, 4, 3], x[:, 1, 4, 3] = 1.0, 0.5
    moved = shifted(x, generator=generator)
    assert moved.shape == x.shape
    torch.testing.assert_close(moved.sum(dim=(2, 3)), torch.tensor([1.0, 0.5]).expand(200, 2))
    places = moved[:, 0].flatten(1).argmax(dim=1)
    rows, columns = places // 7, places % 7
    assert sorted(set(rows.tolist())) == [2, 3, 4, 5, 6]
    assert sorted(set(columns.tolist())) == [1, 2, 3, 4, 5]
    assert abs(torch.corrcoef(torch.stack([rows, columns]).double())[0, 1].item()) < 0.25
    assert torch.equal(moved[:, 1], 0.5 * moved[:, 0])  # channels stay together


def test_loss_that_is_not_finite_ends_it(digits, monkeypatch):
    from training.errors import NonFiniteTraining
    from training.judge import fitting

    monkeypatch.setattr(fitting, "_LEARNING_RATE", 1e30)
    with pytest.raises(NonFiniteTraining, match="judge: expected a finite loss in epoch"):
        fit_judge(few(digits), epochs=3)


def test_images_above_64_pixels_are_refused():
    images = ImageSet("large", torch.zeros(20, 1, 65, 65, dtype=torch.uint8), torch.arange(20) % 2)
    with pytest.raises(DataError, match="sides of at most 64 pixels for a judge"):
        fit_judge(ImageData("x", train=images, test=images), epochs=1)
