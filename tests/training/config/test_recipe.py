"""Recipes: what is accepted, and how a mistake is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from training.config.messages import _models
from training.config.model_section import BernoulliConfig, MLPTrunk
from training.config.reading import SWITCHES, load_recipe, parse_config, recipe_names
from training.config.recipe import RunConfig
from training.errors import ConfigError

MINIMAL = {"name": "mine"}


def refusal(raw: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config({**MINIMAL, **raw}, where="mine.toml")
    return str(caught.value)


def test_a_misspelt_key_is_told_with_the_nearest_valid_one():
    message = refusal({"model": {"latent_sise": 8}})
    assert message.startswith(
        "mine.toml: model.latent_sise: unknown key. Did you mean 'latent_size'? Valid here: "
    )


def test_a_misspelt_section_is_told_with_the_nearest_valid_one():
    assert "optimizer: unknown key. Did you mean 'optimiser'?" in refusal({"optimizer": {}})


def test_a_key_of_another_section_is_told_with_its_section():
    assert "epochs: unknown key. Did you mean 'trainer.epochs'?" in refusal({"epochs": 3})
    assert "model.beta: unknown key. Did you mean 'objective.beta'?" in refusal({"model": {"beta": 2.0}})
    assert "trainer.learning_rat: unknown key. Did you mean 'optimiser.learning_rate'?" in refusal(
        {"trainer": {"learning_rat": 0.1}}
    )
    assert "seed: unknown key. Did you mean 'trainer.seed' or 'evaluation.seed'?" in refusal({"seed": 3})
    assert "trunk: unknown key. Did you mean 'model.trunk'?" in refusal({"trunk": {"type": "mlp"}})


def test_a_misspelt_key_of_a_chosen_trunk_is_told_with_the_keys_of_that_trunk():
    message = refusal({"model": {"trunk": {"type": "mlp", "encoder_hiden": [8]}}})
    assert "model.trunk.encoder_hiden: unknown key. Did you mean 'encoder_hidden'?" in message
    assert "encoder_channels" not in message


def test_a_key_of_the_other_trunk_is_refused():
    message = refusal({"model": {"trunk": {"type": "residual", "decoder_hidden": [8]}}})
    assert (
        "model.trunk.decoder_hidden: a key of model.trunk.type = 'mlp' only. Remove it, or set that."
        in message
    )
    message = refusal({"model": {"likelihood": {"name": "bernoulli", "sigma": 0.1}}})
    assert "model.likelihood.sigma: a key of model.likelihood.name = 'gaussian' only." in message


def test_a_word_that_resembles_nothing_gets_the_list():
    message = refusal({"trainer": {"zzz": 1}})
    assert "Did you mean" not in message
    assert "Valid here: batch_size, channels_last" in message


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"model": {"latent_size": "32"}}, "model.latent_size: expected integer, got '32'."),
        ({"model": {"latent_size": 32.5}}, "model.latent_size: expected integer, got 32.5."),
        ({"model": {"latent_size": True}}, "model.latent_size: expected integer, got True."),
        ({"model": {"latent_size": 0}}, "model.latent_size: expected greater than or equal to 1, got 0."),
        ({"trainer": {"channels_last": 1}}, "trainer.channels_last: expected boolean, got 1."),
        ({"trainer": {"ema_decay": 1.0}}, "trainer.ema_decay: expected less than 1, got 1.0."),
        ({"objective": {"beta": float("nan")}}, "objective.beta: expected"),
        ({"optimiser": {"learning_rate": float("inf")}}, "optimiser.learning_rate: expected"),
        ({"model": {"kind": "gan"}}, "model.kind: expected 'vae' or 'ae', got 'gan'."),
        ({"model": {"trunk": {"type": "cnn"}}}, "model.trunk: "),
        ({"model": {"trunk": {"encoder_channels": [4]}}}, "model.trunk: "),
        (
            {"model": {"trunk": {"type": "mlp", "encoder_hidden": [8, "9"]}}},
            "model.trunk.encoder_hidden[1]: expected integer, got '9'.",
        ),
        ({"data": 3}, "data: expected"),
        (
            {"trainer": {"start_from": "mnist@stable"}},
            "trainer.start_from: expected name@number such as 'mnist@3', got `mnist@stable`; --start",
        ),
        (
            {"objective": {"importance_samples": 2, "beta": 0.5}},
            "objective.importance_samples: expected 1 unless model.kind = 'vae' and objective.beta = 1",
        ),
        (
            {"objective": {"importance_samples": 2, "importance_part": 0.5, "beta_warmup_epochs": 11.0}},
            "objective.beta_warmup_epochs: expected at most 10, so that beta is 1 before the last",
        ),
        ({"name": "Not A Name"}, "name: "),
    ],
)
def test_a_wrong_type_or_range_is_told_with_key_expectation_and_value(raw, told):
    message = refusal(raw)
    assert message.startswith("mine.toml: ")
    assert told in message


def test_a_missing_name_is_told():
    with pytest.raises(ConfigError, match=re.escape("mine.toml: name: expected a value, got nothing.")):
        parse_config({}, where="mine.toml")


def test_several_mistakes_are_told_at_once_up_to_ten():
    message = refusal({"trainer": {f"key{n}": 1 for n in range(14)}})
    assert len(message.splitlines()) == 11
    assert message.endswith("mine.toml: and 4 more.")


def test_a_long_value_is_cut_in_the_message():
    assert len(refusal({"model": {"latent_size": "x" * 5000}})) < 200


@pytest.mark.parametrize("size", [1, 5000, 0.1, 0.999])
def test_validation_size_is_a_number_or_a_share(size):
    config = parse_config({**MINIMAL, "data": {"validation_size": size}}, where="mine.toml")
    read = RunConfig.from_json(config.to_json()).data.validation_size
    assert (read, type(read)) == (size, type(size))


@pytest.mark.parametrize("size", [0, -1, 0.0, 1.0, 2000.0, True, "10", 1_000_001, None])
def test_any_other_validation_size_is_refused(size):
    assert "data.validation_size: expected a whole number from 1 to 1000000, or a share between 0 and 1" in (
        refusal({"data": {"validation_size": size}})
    )


@pytest.mark.parametrize("blocks", [0, 32, [2], [0, 3], [1, 2, 3]])
def test_blocks_are_one_number_or_one_a_stage(blocks):
    channels = [4] * (len(blocks) if isinstance(blocks, list) else 2)
    trunk = {"type": "residual", "decoder_channels": channels, "decoder_blocks": blocks}
    config = parse_config({**MINIMAL, "model": {"trunk": trunk}}, where="mine.toml")
    read: Any = RunConfig.from_json(config.to_json()).model.trunk
    assert read == config.model.trunk
    assert read.blocks_of_decoder_stages == tuple([blocks] * 2 if isinstance(blocks, int) else blocks)


@pytest.mark.parametrize("blocks", [-1, 33, 1.0, True, "2", None, [1, "2"], [1, 33], [[1], 2]])
def test_any_other_number_of_blocks_is_refused(blocks):
    told = refusal({"model": {"trunk": {"type": "residual", "encoder_blocks": blocks}}})
    assert told == (
        "mine.toml: model.trunk.encoder_blocks: expected a whole number from 0 to 32, or a list of such "
        f"numbers, one per stage, got `{blocks}`."
    )


@pytest.mark.parametrize("blocks", [[], [1], [1, 2, 3]])
def test_a_list_of_blocks_is_as_long_as_the_channels(blocks):
    told = refusal({"model": {"trunk": {"type": "residual", "encoder_blocks": blocks}}})
    assert told == (
        "mine.toml: model.trunk.encoder_blocks: expected one number, or a list of 2 like encoder_channels, "
        f"got a list of {len(blocks)}."
    )


def test_an_expectation_without_a_figure_is_refused():
    told = refusal({"expect": {"minutes": 1.0, "measured_on": "here"}})
    assert told == "mine.toml: expect: expected negative_elbo or reconstruction_nll, got neither."


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"data": {"side": 7}}, "data.side"),
        ({"data": {"binarisation": "grey", "grey_fraction": 0.5}}, "data.grey_fraction"),
        ({"model": {"likelihood": {"name": "gaussian"}}}, "data.binarisation"),
        ({"model": {"kind": "ae"}, "objective": {"beta_warmup_epochs": 2.0}}, "objective.beta_warmup_epochs"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(raw, key):
    assert refusal(raw).startswith(f"mine.toml: {key}: expected ")


def test_toml_syntax_errors_name_the_file_and_the_line(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("name = 'x'\n[model\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: expected TOML, got a syntax error: .*line 2"):
        load_recipe(file)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: expected a readable TOML file, got: "):
        load_recipe(tmp_path / "none.toml")


def test_an_unknown_recipe_name_is_told_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"`quik`.*xpected one of fashion, .*mnist, .*quick.*Did you mean `quick`"
    ):
        load_recipe("quik")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_of_the_package_is_valid_and_named_like_its_file(name):
    config = load_recipe(name)
    assert config.name == name
    assert config.description


def test_a_configuration_survives_the_way_through_json():
    for name in recipe_names():
        config = load_recipe(name)
        assert RunConfig.from_json(config.to_json()) == config


def test_a_damaged_config_json_is_told():
    with pytest.raises(ConfigError, match=r"config\.json"):
        RunConfig.from_json('{"name": "x", "model": {"latent_size": -1}}')


def test_overrides_replace_values_and_are_read_as_toml():
    config = load_recipe(
        "quick",
        overrides=[
            "trainer.epochs=3",
            "model.kind=ae",
            "objective.beta_warmup_epochs=0",
            "data.grey_fraction=0.0",
        ],
    )
    assert (config.trainer.epochs, config.model.kind) == (3, "ae")


def test_another_trunk_or_likelihood_is_chosen_by_its_name_alone():
    mlp = load_recipe("images-gaussian", overrides=["model.trunk.type=mlp"])
    assert mlp.model.trunk == MLPTrunk()
    # In whatever order they are given; the recipe's own kind keeps the recipe's keys.
    given = ["model.trunk.decoder_hidden=[8]", "model.trunk.type='mlp'"]
    assert load_recipe("images-gaussian", overrides=given).model.trunk == MLPTrunk(decoder_hidden=(8,))
    recipe = load_recipe("images-gaussian")
    assert load_recipe("images-gaussian", overrides=["model.trunk.type=residual"]).model == recipe.model
    binary = load_recipe(
        "images-gaussian", overrides=["model.likelihood.name=bernoulli", "data.binarisation=dynamic"]
    )
    assert binary.model.likelihood == BernoulliConfig()


def test_every_key_that_chooses_a_kind_of_section_is_known():
    found = []

    def look(model, prefix):
        for name, field in model.model_fields.items():
            inner = list(_models(field.annotation))
            if field.discriminator is not None:
                found.append(f"{prefix}{name}.{field.discriminator}")
            for section in inner:
                look(section, f"{prefix}{name}.")

    look(RunConfig, "")
    assert sorted(found) == sorted(SWITCHES)


def test_an_overridden_recipe_no_longer_promises_what_the_original_does():
    assert load_recipe("quick").expect is not None
    assert load_recipe("quick", overrides=["trainer.seed=1"]).expect is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer.epochs", "--set: expected section.key=value, got 'trainer.epochs'"),
        ("=3", "--set: expected section.key=value"),
        ("trainer.epochz=3", "trainer.epochz: unknown key. Did you mean 'epochs'?"),
        ("trainer.epochs=three", "trainer.epochs: expected integer, got 'three'."),
        (
            "name.first=3",
            "--set: 'name.first=3' sets a key inside 'name', which is a value and not a section.",
        ),
    ],
)
def test_a_wrong_override_is_told(override, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_recipe("quick", overrides=[override])


def test_a_configuration_cannot_be_changed():
    config = parse_config(MINIMAL, where="mine.toml")
    with pytest.raises(ValueError, match="frozen"):
        config.trainer.epochs = 3  # type: ignore[misc]


def test_every_key_says_what_it_means():
    for section, name in keys_of(RunConfig):
        described = section.model_fields[name].description
        assert (
            described
            or name in ("data", "model", "objective", "optimiser", "trainer", "evaluation", "name")
            or (section.__name__ != "RunConfig" and name in ("type", "name"))
        ), f"{section.__name__}.{name}"


def keys_of(model: type[BaseModel]):
    for name, field in model.model_fields.items():
        yield model, name
        for inner in _models(field.annotation):
            yield from keys_of(inner)


def test_reading_a_recipe_needs_no_torch():
    """`vae-train --help` and a misspelt key answer at once."""
    script = (
        "import sys\n"
        "from training.config.reading import load_recipe\n"
        "load_recipe('quick')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)


SPATIAL: dict[str, Any] = {"trunk": {"type": "residual", "latents": "spatial"}}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"data": {"side": 128}}, "data.side: expected at most 64 pixels with flat latents"),
        ({"data": {"side": 300}, "model": SPATIAL}, "data.side: expected "),
        ({"model": {**SPATIAL, "kind": "ae"}}, "model.kind: expected 'vae' with model.trunk.latents"),
        (
            {"model": {**SPATIAL, "prior": {"name": "learned"}}},
            "model.prior.name: expected 'standard' with model.trunk.latents = 'spatial'",
        ),
        (
            {"model": {"trunk": {**SPATIAL["trunk"], "encoder_channels": [4, 4, 4]}}},
            "model.trunk.decoder_channels: expected as many stages as encoder_channels",
        ),
    ],
)
def test_latents_with_positions_and_large_images_are_refused_where_they_do_not_fit(
    raw: dict[str, object], reason: str
) -> None:
    assert reason in refusal(raw)


def test_large_images_and_latents_with_positions_go_together():
    config = parse_config({**MINIMAL, "data": {"side": 256}, "model": SPATIAL}, where="mine.toml")
    assert config.model.objection_to_sides(256, 256) is None
