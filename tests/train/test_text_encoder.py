"""A random text encoder of CLIP's kind, written here: read, trained with and sampled with."""

import json
import sys

import numpy as np
import pytest
import torch

from flows.config import RunConfig
from flows.twin import twin_trainer
from flows.white_box import WhiteBox
from medsynth.checkpoint import load_generator, save_generator
from medsynth.core.errors import StaleInput, UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import FOLDS, Manifest, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Request, open_stage, produce
from medsynth.sample.cohort import sample
from medsynth.sample.given import Given
from medsynth.sample.plan import Plan
from medsynth.text_encoder import load_text_encoder, text_encoder_digest
from medsynth.train.train import train

LETTERS = "abcdefghijklmnopqrstuvwxyz_"
PIECES = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
LENGTH, WIDTH = 16, 8
SHAPE = {
    "vocab_size": len(PIECES),
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "patch_size": 4}
VISION |= {"num_attention_heads": 2, "image_size": 8}
STORY = AttributeSchema((Attribute("story", "text"),))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def write_tokenizer(folder):
    """Letters are pieces; a word ends in its last letter's other piece."""
    (folder / "vocab.json").write_text(json.dumps({p: n for n, p in enumerate(PIECES)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


@pytest.fixture
def clip(tmp_path, transformers):
    """The folder of a whole random CLIP."""
    folder = tmp_path / "somewhere-secret"
    torch.manual_seed(0)
    kind = transformers.CLIPConfig(text_config=SHAPE, vision_config=VISION)
    transformers.CLIPModel(kind).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def stories(tmp_path):
    """Prepared scans whose text says how bright they are, and whose they are."""

    def build(folder):
        scans = []
        for index in range(32):
            level, shape = index % 2, (16, 12, 1)
            voxels = np.full((1, *shape), 0.2 + 0.5 * level, np.float32)
            voxels += 0.1 * np.random.default_rng(index).random(voxels.shape, np.float32)
            scans.append(
                store_scan(
                    folder,
                    Volume(voxels, Geometry(shape, np.eye(4))),
                    scan_id=f"scan-{index:03d}",
                    subject_id=f"sub-{index:03d}",
                    modality="MR",
                    attributes={"story": f"{['dark', 'light'][level]} of doe{'abcd'[index % 4]}"},
                    fold="train" if index < 24 else FOLDS[1 + index % 3],
                )
            )
        Manifest(tuple(scans), STORY).write(folder)

    return produce(tmp_path, Request("prepared", {}, {}, "test"), build)


def test_states_are_those_of_the_text_half_and_then_zeros(transformers, clip) -> None:
    encoder = load_text_encoder(clip, CPU)
    ids = [0, *(PIECES.index(p) for p in ("a", "b</w>", "c</w>")), 1]
    whole = transformers.CLIPModel.from_pretrained(clip).eval()
    with torch.inference_mode():
        known = whole.text_model(torch.tensor([ids])).last_hidden_state[0].numpy()
    states = encoder["ab c"]
    assert states.shape == encoder.shape == (LENGTH, WIDTH)
    np.testing.assert_allclose(states[: len(ids)], known, atol=1e-6)
    assert not states[len(ids) :].any()


def test_a_long_text_is_cut_and_the_encoder_never_learns(clip) -> None:
    encoder = load_text_encoder(clip, CPU)
    assert encoder["a " * 40].any(axis=1).all()
    assert not any(weight.requires_grad for weight in encoder.network.parameters())


def drawn(checkpoint, *texts):
    generator = load_generator(checkpoint)
    requests = [{"story": text} for text in texts]
    return generator.draw(requests, [7] * len(texts), seed=3)


@pytest.fixture
def trained(tmp_path, stories, clip, tiny):
    more = {"denoiser_learning_rate": 1e-2, "denoiser_steps": 40, "validate_every": 40}
    config = tiny.model_copy(update={"text_encoder": clip, **more})
    return train(stories, tmp_path, config)[1], config


def test_texts_are_trained_and_sampled_through_the_encoder(
    tmp_path, stories, trained, monkeypatch
) -> None:
    checkpoint, config = trained
    texts = ("light of", "dark of")
    given = Given(texts={"story": texts})
    made = sample(open_stage(checkpoint.path), tmp_path, Plan(count=4, num_steps=2), given=given)
    assert [scan.attributes["story"] for scan in Manifest.read(made.path)] == [*texts] * 2
    light, dark, again = drawn(checkpoint.path, *texts, texts[0])
    assert np.abs(light - dark).max() > 1e-3
    np.testing.assert_array_equal(light, again)
    with pytest.raises(ValueError, match="some of its words were never trained"):
        drawn(checkpoint.path, "doea")

    # Only a digest of the folder is ever written, and the folder is not needed again.
    clip = config.text_encoder
    for path in tmp_path.rglob("*"):
        if path.is_file() and clip not in path.parents:
            assert clip.name.encode() not in path.read_bytes(), path.name
    assert checkpoint.receipt["parents"]["text_encoder"] == text_encoder_digest(clip)
    assert train(stories, tmp_path, config)[1].reused
    clip.rename(clip.with_name("gone"))
    np.testing.assert_array_equal(drawn(checkpoint.path, texts[0])[0], light)

    # A copy, as a compression writes one, holds it too.
    (tmp_path / "copy").mkdir()
    save_generator(tmp_path / "copy", load_generator(checkpoint.path), prepared_digest="")
    np.testing.assert_array_equal(drawn(tmp_path / "copy", texts[0])[0], light)

    box = WhiteBox(load_generator(checkpoint.path))
    same, other, nothing = box.condition([{"story": "light doea"}, {"story": "dark"}, {}])
    assert (same - other).abs().max() > 1e-3
    assert torch.equal(nothing, box.condition(None)[0])

    def train_once_more(prepared, place, config, **others):
        assert text_encoder_digest(config.text_encoder) == text_encoder_digest(ours)
        return None, checkpoint

    ours = checkpoint.path / "text_encoder"
    monkeypatch.setattr("flows.twin.train", train_once_more)
    train_twin = twin_trainer(checkpoint, stories, tmp_path)
    assert train_twin(np.zeros((1, 16, 12, 1), np.float32), [{"story": "light"}])

    (checkpoint.path / "text_encoder" / "tokenizer.json").write_text("{}")
    with pytest.raises(StaleInput, match="must hold the text encoder that it was trained with"):
        load_generator(checkpoint.path)
    (checkpoint.path / "text_encoder").rename(tmp_path / "lost")
    with pytest.raises(StaleInput, match="take the folder as training wrote it"):
        load_generator(checkpoint.path)


def test_what_the_config_resolves_to_names_no_folder(clip) -> None:
    fields = RunConfig.model_validate({"train": {"text_encoder": clip}}).resolved()
    assert fields["train"]["text_encoder"] == "a folder"


def test_only_files_that_are_read_count(clip) -> None:
    before = text_encoder_digest(clip)
    (clip / "README.md").write_text("hello")
    assert text_encoder_digest(clip) == before
    (clip / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    assert text_encoder_digest(clip) != before


def pickled(clip):
    (clip / "model.safetensors").rename(clip / "pytorch_model.bin")


def without_tokenizer(clip):
    (clip / "merges.txt").unlink()


def of_another_kind(clip):
    (clip / "config.json").write_text(json.dumps({"model_type": "vit"}))


def with_code(clip):
    about = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (clip / "config.json").write_text(json.dumps(about))
    (clip / "own.py").write_text("raise SystemExit")


def with_more_layers(clip):
    fields = json.loads((clip / "config.json").read_text())
    fields["text_config"]["num_hidden_layers"] = 3
    (clip / "config.json").write_text(json.dumps(fields))


def with_more_pieces(clip):
    pieces = {piece: number for number, piece in enumerate([*PIECES, "more"])}
    (clip / "vocab.json").write_text(json.dumps(pieces))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (pickled, "weights of other formats are never read"),
        (without_tokenizer, "its tokenizer's files"),
        (of_another_kind, "must be one that transformers reads by itself"),
        (with_code, "must be one that transformers reads by itself"),
        (with_more_layers, "must be those of its config.json"),
        (with_more_pieces, f"it knows {len(PIECES)}, the tokenizer has {len(PIECES) + 1}"),
    ],
)
def test_a_folder_that_will_not_do_is_refused_without_its_name(clip, spoil, match) -> None:
    spoil(clip)
    with pytest.raises(UsageProblem, match=match) as error:
        load_text_encoder(clip, CPU)
    assert clip.name not in str(error.value)


def test_refusals_come_before_any_work(tmp_path, prepared, stories, clip, tiny, monkeypatch):
    config = tiny.model_copy(update={"text_encoder": tmp_path / "nowhere"})
    with pytest.raises(UsageProblem, match=r"a folder with its config\.json"):
        train(stories, tmp_path, config)
    config = tiny.model_copy(update={"text_encoder": clip})
    with pytest.raises(UsageProblem, match="needs an attribute of kind text"):
        train(prepared(tmp_path / "other"), tmp_path, config)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageProblem, match="install medsynth with its extra `text`"):
        train(stories, tmp_path, config)
    assert not (tmp_path / "latents").exists()
