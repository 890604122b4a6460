"""What a call returns is what the server computes, however the batch is cut."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server_process import Running
from vae_client import (
    Client,
    InvalidInput,
    InvalidRequest,
    Latents,
    NotFound,
    NotSplittable,
    Refused,
    VersionMismatch,
)
from vae_client.picture_sizes import pixels_of
from vae_client.streaming import BLOCK, seed_of_block


@pytest.fixture
def cutting(vae: Client) -> Client:
    """A client that believes the server takes three images, and four stored latents, at a time."""
    limits = vae.limits()
    for name, value in {"max_images": 3, "max_stored_latents": 4}.items():
        limits[name]["value"] = value
    vae._context.limits = limits
    return vae


def test_sample_is_the_draw_of_the_server(vae: Client, bundled: Running) -> None:
    digits = vae.sample(n=4, seed=7, label="3")
    status, headers, body = bundled.get("/sample?n=4&seed=7&label=3&model=mnist")
    told = json.loads(body)
    assert status == 200
    np.testing.assert_array_equal(digits.images, np.array(told["images"], np.float32))
    np.testing.assert_array_equal(digits.z, np.array(told["z"], np.float32))
    assert (digits.seed, digits.label, digits.prior, digits.model) == (7, "3", "learned", headers["x-model"])
    assert digits.timing.total_s > 0
    assert digits.timing.server_ms["total"] > 0
    assert digits.images.dtype == np.float32


def test_draw_without_a_seed_can_be_repeated(vae: Client) -> None:
    drawn = vae.sample()
    np.testing.assert_array_equal(vae.sample(seed=drawn.seed).images, drawn.images)


def test_draw_above_the_limit_has_the_same_rows(vae: Client) -> None:
    long = vae.sample(n=300, seed=7)
    assert len(long) == 300
    np.testing.assert_array_equal(long[:4].images, vae.sample(n=4, seed=7).images)
    with pytest.raises(InvalidInput, match="max_images"):
        _ = long.z
    with pytest.raises(NotSplittable, match=r"65536.*sample_many"):
        vae.sample(n=65_537)


def test_stream_is_the_same_draw_in_parts_of_the_requested_size(vae: Client) -> None:
    parts = list(vae.sample_many(300, seed=7, batch=128))
    assert [(len(part), part.first_row) for part in parts] == [(128, 0), (128, 128), (44, 256)]
    parts[0].images[:] = parts[0].images * 1.0  # may be written to
    np.testing.assert_array_equal(
        np.concatenate([part.images for part in parts]), vae.sample(n=300, seed=7).images
    )


def test_seed_of_each_block_of_a_long_draw_is_derived_from_the_first() -> None:
    assert seed_of_block(7, 0) == 7
    assert seed_of_block(7, 1) == 7452896479269900
    assert len({seed_of_block(7, block) for block in range(100)}) == 100
    assert BLOCK == 65_536


def test_cut_batches_have_the_results_of_the_whole(cutting: Client, url: str) -> None:
    with Client(url, model="mnist") as whole:
        digits = whole.sample(n=8, seed=1)
        expected = whole.encode(digits)
        found = cutting.encode(digits)
        np.testing.assert_array_equal(found.mu, expected.mu)
        np.testing.assert_array_equal(found.logvar, expected.logvar)
        assert (found.timing.tries, expected.timing.tries) == (3, 1)
        np.testing.assert_array_equal(cutting.decode(expected.mu).images, whole.decode(expected.mu).images)
        again, once = cutting.reconstruct(digits), whole.reconstruct(digits)
        np.testing.assert_array_equal(again.images, once.images)
        np.testing.assert_array_equal(again.z, once.z)


@pytest.fixture
def by_values(vae: Client) -> Client:
    """A client that believes the server takes the values of 3 images at a time, and streams those of 9."""
    limits = vae.limits()
    for name, images in {"max_values": 3, "max_stream_values": 9}.items():
        limits[name]["value"] = images * 28 * 28 + 1
    vae._context.limits = limits
    return vae


def test_batches_are_cut_by_values_too(by_values: Client, url: str, tmp_path: Path) -> None:
    with Client(url, model="mnist") as whole:
        digits = whole.sample(n=8, seed=1)
        expected = whole.encode(digits)
        found = by_values.encode(digits)
        np.testing.assert_array_equal(found.mu, expected.mu)
        assert (found.timing.tries, expected.timing.tries) == (3, 1)
        decoded = by_values.decode(expected.mu)
        np.testing.assert_array_equal(decoded.images, whole.decode(expected.mu).images)
        assert decoded.timing.tries == 3
        path = digits[0].save(tmp_path / "digit.png")
        assert by_values.encode([path] * 4, fit="contain").timing.tries == 2
        assert by_values.nearest(expected.mu, among=expected.mu).timing.tries == 3
        long = by_values.sample(n=8, seed=1)
        np.testing.assert_array_equal(long.images, digits.images)
        with pytest.raises(InvalidInput, match="max_images"):
            _ = long.z
    with pytest.raises(NotSplittable, match=r"4 need 2 requests.*max_values.*at most 3"):
        by_values.score(digits.images[:4])
    for draw in (by_values.sample, lambda n: next(by_values.sample_many(n))):
        with pytest.raises(NotSplittable, match=r"at most 9.*max_stream_values"):
            draw(10)


def test_server_without_limits_in_values_is_asked_for_no_shape(by_values: Client) -> None:
    """An older one; its images are all small."""
    newer = ("max_values", "max_stream_values")
    by_values._context.limits = {
        name: limit for name, limit in by_values._context.limits.items() if name not in newer
    }
    assert by_values.encode(by_values.sample(n=8, seed=1)).timing.tries == 1
    assert by_values._context.summaries == {}


def test_cut_searches_have_the_neighbours_of_the_whole(cutting: Client, url: str) -> None:
    with Client(url, model="mnist") as whole:
        index = whole.encode(whole.sample(n=10, seed=1)).mu
        index = Latents(np.concatenate([index, index[:3]]), index.model)  # equally distant rows
        digits = whole.sample(n=5, seed=2)
        for query in (whole.encode(digits).mu, digits.images):
            expected, found = (client.nearest(query, among=index, k=6) for client in (whole, cutting))
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.distances, expected.distances)
            assert found.timing.tries == 8
        with pytest.raises(InvalidRequest, match="from 1 to"):
            cutting.nearest(digits, among=index, k=14)


def test_neighbours_are_those_of_numpy(vae: Client) -> None:
    index = vae.encode(vae.sample(n=20, seed=1)).mu
    query = vae.encode(vae.sample(n=2, seed=2)).mu
    gaps = np.asarray(query, np.float64)[:, None] - np.asarray(index, np.float64)
    distances = np.sqrt((gaps**2).sum(axis=2))
    near = vae.nearest(query, among=index, k=3)
    np.testing.assert_array_equal(near.indices, np.argsort(distances, axis=1)[:, :3])
    np.testing.assert_allclose(near.distances, np.sort(distances, axis=1)[:, :3], rtol=1e-12)


def test_what_depends_on_the_place_in_the_batch_is_not_cut(cutting: Client) -> None:
    digits = cutting.sample(n=3, seed=1)
    four = np.concatenate([digits.images, digits.images[:1]])
    assert len(cutting.score(digits, seed=1)) == 3
    for call in (lambda: cutting.score(four), lambda: cutting.reconstruct(four, sample=True)):
        with pytest.raises(NotSplittable, match=r"4 need 2 requests.*row i of the seed.*at most 3"):
            call()


def test_faults_of_a_cut_batch_name_the_image_of_the_caller(cutting: Client) -> None:
    images = np.zeros((8, 1, 28, 28), np.float32)
    images[7] = 2.0
    with pytest.raises(InvalidRequest) as caught:
        cutting.encode(images)
    assert caught.value.items[0].where.startswith("images[7]")
    assert "images[7]" in str(caught.value)
    assert caught.value.code == "invalid-value"


def test_images_may_be_anything_that_is_an_image(vae: Client, tmp_path: Path) -> None:
    digit = vae.sample(seed=7)
    path = digit.save(tmp_path / "digit.png")
    pixels = np.rint(digit.images[0, 0] * 255).astype(np.uint8)
    npy = tmp_path / "digit.npy"
    np.save(npy, pixels)
    expected = np.asarray(vae.encode(path).mu)
    same = [str(path), path.read_bytes(), Image.fromarray(pixels), pixels, pixels[None], npy]
    for each in same:
        np.testing.assert_array_equal(vae.encode(each).mu, expected)
    together = vae.encode([*same, pixels[None, None][0]])
    assert together.mu.shape == (7, 32)
    np.testing.assert_array_equal(together.mu, np.repeat(expected, 7, axis=0))


def test_pil_images_are_upright_and_of_any_mode(vae: Client) -> None:
    digit = Image.fromarray(np.rint(vae.sample(seed=7).images[0, 0] * 255).astype(np.uint8))
    expected = vae.encode(digit).mu
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise to be seen
    out = io.BytesIO()
    digit.rotate(90).save(out, "PNG", exif=exif)
    np.testing.assert_array_equal(vae.encode(Image.open(io.BytesIO(out.getvalue()))).mu, expected)
    np.testing.assert_array_equal(vae.encode(digit.convert("RGBA")).mu, expected)
    assert vae.encode(digit.convert("CMYK")).mu.shape == (1, 32)


def test_pictures_of_any_size_say_how_they_were_read(vae: Client, tmp_path: Path) -> None:
    inverted = 1.0 - vae.sample(seed=7).images
    big = tmp_path / "big.png"
    Image.fromarray((inverted[0, 0] * 255).astype(np.uint8)).resize((280, 280)).save(big)
    plain = vae.encode(big, fit="contain")
    assert "images[0]: looks dark on a light ground" in plain.warnings[0]
    turned = vae.encode([big, big], fit="mnist", invert="auto")
    assert "inverted=yes" in turned.pictures
    assert turned.warnings == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("missing.png", "No such file"),
        (b"GIF89a", "PNG, JPEG, WebP or npy"),
        ([], "at least one image"),
        (np.zeros((1, 1, 1, 28, 28)), "got shape"),
        (np.zeros((28, 28), np.int64), "int64"),
        (object(), "object"),
        (b"\x93NUMPYbroken", "broken npy"),
    ],
)
def test_what_is_no_image_is_refused_before_a_request(wrong: object, message: str) -> None:
    with Client("http://127.0.0.1:1") as nowhere, pytest.raises(InvalidInput, match=message):
        nowhere.encode(wrong)


def test_paths_of_latents_begin_and_end_at_their_ends(vae: Client) -> None:
    digits = vae.sample(n=2, seed=7)
    way = vae.interpolate(digits[0], digits[1], steps=5)
    np.testing.assert_array_equal(way.z[0], digits.z[0])
    np.testing.assert_array_equal(way.z[-1], digits.z[1])
    from_images = vae.interpolate(digits[0].images, digits[1].images, steps=5)
    mu = vae.encode(digits).mu
    mixed = vae.interpolate(mu[0], digits[1].images, steps=5)
    np.testing.assert_array_equal(from_images.images, vae.interpolate(mu[0], mu[1], steps=5).images)
    np.testing.assert_array_equal(mixed.images, from_images.images)
    for dims in ([1, 2], (1, 2), range(1, 3), np.array([1, 2])):
        assert vae.traverse(digits[0], dims=dims, steps=3).images.shape == (9, 1, 28, 28)
    assert vae.traverse(steps=3, dims=0).z.shape == (3, 32)
    np.testing.assert_array_equal(vae.traverse(digits[0].images, dims=0, steps=3).z[:, 1:], mu[[0] * 3, 1:])


def test_scores_are_repeated_by_their_seed(vae: Client) -> None:
    digits = vae.sample(n=3, seed=7)
    scores = vae.score(digits, importance_samples=4)
    again = vae.score(digits, importance_samples=4, seed=scores.seed)
    assert list(scores.columns()) == [
        "reconstruction_nll", "kl", "elbo", "bits_per_dim", "log_px", "bits_per_dim_iw",
    ]  # fmt: skip
    np.testing.assert_array_equal(scores.log_px, again.log_px)
    np.testing.assert_allclose(scores.elbo, -(scores.reconstruction_nll + scores.kl), rtol=1e-12)
    assert vae.score(digits).log_px is None
    drawn = vae.reconstruct(digits, sample=True)
    np.testing.assert_array_equal(vae.reconstruct(digits, sample=True, seed=drawn.seed).z, drawn.z)


def test_scores_say_how_images_compare_with_normal_ones(vae: Client, extended_url: str) -> None:
    digits = vae.sample(n=3, seed=7).images
    images = np.concatenate([digits, np.random.default_rng(0).random((1, 1, 28, 28), np.float32)])
    with Client(extended_url, model="mnist@checked") as checked:
        scores = checked.score(images, flag=True, seed=1)
        plain = checked.score(images, seed=1)
    np.testing.assert_array_equal(scores.elbo, plain.elbo)
    assert scores.elbo.dtype == np.float64
    assert (scores.flagged_by, scores.rate) == ("negative_elbo", 0.05)
    np.testing.assert_array_equal(scores.flags, -scores.elbo > scores.threshold)
    assert scores.flags[3]
    assert scores.flags.dtype == np.bool_
    assert scores.negative_elbo_quantile[3] == 1.0
    assert list(scores.columns())[4:] == [
        "reconstruction_nll_quantile", "kl_quantile", "negative_elbo_quantile",
    ]  # fmt: skip
    assert "<td>yes</td>" in scores._repr_html_()
    assert "flagged" in repr(scores)
    assert (plain.flags, plain.flagged_by, plain.kl_quantile) == (None, None, None)
    with pytest.raises(InvalidRequest, match="no-thresholds"):
        vae.score(digits, flag=True)


def test_latents_of_one_version_are_not_sent_to_another(vae: Client, url: str) -> None:
    mu, _ = vae.encode(vae.sample(n=2, seed=7))
    with Client(url, model="mnist-2d") as other:
        bound = other.pinned()
        assert bound.model == "mnist-2d@2"
        calls = (
            lambda client: client.decode(mu),
            lambda client: client.nearest(mu, among=mu),
            lambda client: client.interpolate(mu[0], mu[1]),
            lambda client: client.traverse(mu[0]),
        )
        for client in (other, bound):
            for call in calls:
                with pytest.raises(
                    VersionMismatch, match=r"mnist@6, and mnist-2d@2.*Client\(model='mnist@6'\)"
                ):
                    call(client)
        other_mu = other.encode(vae.sample(seed=7)).mu
        with pytest.raises(VersionMismatch, match="mnist-2d@2 and mnist@6"):
            other.nearest(other_mu, among=mu)
        with pytest.raises(VersionMismatch, match="one array"):
            np.concatenate([mu, other_mu])


def test_latents_keep_their_version_through_arithmetic_slices_and_pickle(vae: Client) -> None:
    mu = vae.encode(vae.sample(n=3, seed=7)).mu
    for derived in (
        mu[1:],
        mu + 1,
        mu.mean(axis=0),
        np.concatenate([mu, mu]),
        pickle.loads(pickle.dumps(mu)),
    ):
        assert isinstance(derived, Latents)
        assert derived.model == "mnist@6"
    assert Latents(np.asarray(mu), model="mnist@6").model == "mnist@6"
    assert vae.decode(np.asarray(mu)).images.shape == (3, 1, 28, 28)


def test_pinned_client_keeps_the_version_that_answered(vae: Client) -> None:
    digits = vae.sample(seed=7)
    for bound in (vae.pinned(), vae.pinned(digits), vae.pinned(digits.z), vae.pinned("mnist@6")):
        assert bound.model == "mnist@6"
        np.testing.assert_array_equal(bound.decode(digits.z).images, digits.images)
        bound.close()  # leaves the connections of the other open
    assert vae.sample(seed=7).model == "mnist@6"


def test_models_and_limits_are_those_of_the_server(vae: Client) -> None:
    assert [model["model"] for model in vae.models()] == ["fashion@1", "mnist@6", "mnist-2d@2", "mnist-ae@2"]
    assert vae.limits()["max_images"]["value"] == 256


def test_refusal_has_code_place_remedy_and_request_id(vae: Client, url: str, bundled: Running) -> None:
    with pytest.raises(InvalidRequest) as caught:
        vae.sample(label="eleven")
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.tries) == (422, "unknown-label", 1)
    assert refusal.items[0].where == "label"
    assert refusal.request_id in bundled.log
    assert refusal.request_id in str(refusal)
    with Client(url, model="nothing") as other:
        for call in (other.sample, other.pinned):
            with pytest.raises(NotFound, match="unknown-model"):
                call()
    with Client(url, model="no/such?name") as other:
        with pytest.raises(InvalidRequest, match="no/such"):
            other.sample()
        with pytest.raises(Refused):
            other.pinned()
    with pytest.raises(InvalidRequest, match=r"images\[0\]: picture|PNG"):
        vae.encode(b"\x89PNG\r\n\x1a\n broken")


def test_results_show_themselves_in_a_notebook(vae: Client, tmp_path: Path) -> None:
    digits = vae.sample(n=5, seed=7)
    picture = Image.open(io.BytesIO(digits._repr_png_()))
    assert picture.size == ((28 * 3 + 2) * 2, (28 * 2 + 1) * 2)
    assert 'src="data:image/png;base64,' in digits._repr_html_()
    assert "seed 7" in digits._repr_html_()
    assert "<td>" in vae.score(digits)._repr_html_()
    assert "5 images" in vae.encode(digits)._repr_html_()
    sheet = np.asarray(Image.open(digits[0].save(tmp_path / "one.png")))
    np.testing.assert_array_equal(sheet, np.rint(digits.images[0, 0] * 255).astype(np.uint8))
    with np.load(digits.save(tmp_path / "all.npz")) as saved:
        np.testing.assert_array_equal(saved["z"], digits.z)
        assert (int(saved["seed"]), str(saved["model"])) == (7, "mnist@6")
    with pytest.raises(InvalidInput, match=r"\.png, \.npy or \.npz"):
        digits.save(tmp_path / "digits.gif")


def test_rows_of_a_result_are_results(vae: Client) -> None:
    digits = vae.sample(n=5, seed=7)
    assert [len(each) for each in digits] == [1] * 5
    np.testing.assert_array_equal(digits[-1].z, digits.z[4:])
    assert digits[2:4].first_row == 2
    with pytest.raises(IndexError):
        _ = digits[5]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_size_of_a_picture_is_read_from_its_header(kind: str) -> None:
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}):
        out = io.BytesIO()
        Image.new("RGB", (37, 21)).save(out, kind, **options)
        assert pixels_of(out.getvalue()) == 37 * 21
    assert pixels_of(out.getvalue()[:12]) == 0


def test_pictures_are_cut_by_their_pixels(cutting: Client, tmp_path: Path) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    cutting._context.limits["max_picture_pixels"]["value"] = 300 * 300 // 8 * 2 + 8
    found = cutting.encode([tmp_path / "a.png"] * 3, fit="contain")
    assert found.timing.tries == 2
    assert len(found) == 3
