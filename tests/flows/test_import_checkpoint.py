"""`medsynth import-checkpoint`, from files of weights to a cohort."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli import answer
from flows.config import read_config

HOW_TO = Path(__file__).parents[2] / "docs/how-to/import-checkpoint.md"
TOML = """
name = "foreign"
[convert]
shape = [8, 12, 1]
num_timesteps = 50
[convert.autoencoder]
norm_num_groups = 2
[convert.denoiser]
norm_num_groups = 2
num_head_channels = 4
"""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Arguments of an import of two random networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from generative.networks import nets as old
    shared: dict[str, Any] = {"spatial_dims": 2, "num_channels": (4, 8), "norm_num_groups": 2}
    shared |= {"num_res_blocks": 1, "attention_levels": (False, True)}
    networks = {
        "autoencoder": old.AutoencoderKL(latent_channels=3, **shared),
        "unet": old.DiffusionModelUNet(
            in_channels=3, out_channels=3, num_head_channels=4, **shared
        ),
    }
    (tmp_path / "old").mkdir()
    for name, network in networks.items():
        torch.save({"state_dict": network.state_dict()}, tmp_path / "old" / f"{name}.pt")
    (tmp_path / "c.toml").write_text(TOML)
    config = ["--config", str(tmp_path / "c.toml")]
    return ["import-checkpoint", str(tmp_path / "old"), str(tmp_path / "work"), *config]


def test_an_imported_generator_is_registered_and_sampled_from(
    server: str, home: Path, tmp_path: Path, given: list[str]
) -> None:
    from mlflow.tracking import MlflowClient

    from flows.home import Home
    from flows.registry import find_version

    made = answer(given)
    said = json.loads(made.to_json(1.0, "import-checkpoint"))
    assert made.exit_code == 0
    assert set(said["networks"]) == {"AutoencoderKL", "DiffusionModelUNet"}
    assert "AutoencoderKL: proved by comparison" in made.lines[0]
    assert "norm_eps = 1e-06, use_convtranspose = False" in made.lines[1]
    digest = json.loads((tmp_path / "work/checkpoint/receipt.json").read_text())["digest"]
    assert find_version(MlflowClient(Home(home).tracking_uri), "foreign", digest)
    drawn = answer(
        ["sample", f"{tmp_path}/work/checkpoint", f"{tmp_path}/work", "--count", "3", *given[3:]]
    )
    assert drawn.exit_code == 0
    assert len(list((tmp_path / "work/cohort/volumes").iterdir())) == 3


def test_a_lone_denoiser_is_bad_usage_and_names_no_file(
    server: str, tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old/autoencoder.pt").unlink()
    refused = answer(given)
    assert refused.exit_code == 2
    error = json.loads(refused.to_json(1.0, "import-checkpoint"))["error"]
    assert "one autoencoder must be given" in error["message"]
    assert str(tmp_path) not in error["message"]
    assert "unet" not in error["message"]


def test_what_the_page_writes_down_is_a_config(tmp_path: Path) -> None:
    written = re.search(r"```toml\n(.*?)```", HOW_TO.read_text(), re.S)
    assert written
    (tmp_path / "brain.toml").write_text(written[1])
    told = read_config(tmp_path / "brain.toml").convert
    assert [attribute.name for attribute in told.attributes] == ["sex", "age"]
    assert told.denoiser.num_head_channels == (0, 512, 768)
