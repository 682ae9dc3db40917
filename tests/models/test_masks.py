import numpy as np
import pytest
import torch

from medsynth.core.masks import mask_digest
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.masks import MaskGrid, to_depth
from medsynth.models.synthesizer import LatentScale, SamplerConfig, Synthesizer
from medsynth.models.trained import check_request, learn_attributes

SCHEMA = AttributeSchema(
    (Attribute("age", "continuous"), Attribute("lesion", "mask", values=("core", "rim")))
)
SHAPES = [(20, 12, 1), (12, 8, 20)]


def masks_of(shape):
    """A core at a corner, a core with a rim, and nothing."""
    one, two, none = (np.zeros(shape, np.uint8) for _ in range(3))
    one[1, 2, 0], two[:5, :5, 0], two[3, 3, 0] = 1, 2, 1
    return {mask_digest(mask): mask for mask in (one, two, none)}


def trained_on(masks, shape):
    rows = [{"age": 20.0 + i, "lesion": d} for i, d in enumerate(masks)]
    return learn_attributes(SCHEMA, [*rows, {}], masks, MaskGrid(shape, 8, 4))


def encoded(shape, *digests, null=False):
    masks = masks_of(shape)
    trained = trained_on(masks, shape)
    torch.manual_seed(0)
    encoder = ConditionEncoder(SCHEMA, trained, 8)
    batch = encode_attributes(SCHEMA, trained, [{"lesion": d} for d in digests], masks)
    return encoder, encoder(batch.null() if null else batch)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_voxel_of_a_block_stands_at_its_position(dims):
    planes = torch.arange(2 * 2 * 4 * 6 * 8).reshape(2, 2, 4, 6, 8).float()
    planes = planes if dims == 3 else planes[..., 0]
    blocks = to_depth(planes, 2)
    assert blocks.shape == (2, planes[0, 0].numel() // 2**dims, 2 * 2**dims)
    last = planes[1, :, -2:, -2:] if dims == 2 else planes[1, :, -2:, -2:, -2:]
    assert torch.equal(blocks[1, -1], last.flatten())
    assert torch.equal(blocks.flatten().sort().values, planes.flatten().sort().values)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_voxel_changes_the_token_of_its_own_position(shape):
    one, _, none = masks_of(shape)
    encoder, tokens = encoded(shape, one, none)
    positions = tokens[:, encoder.num_tokens :]
    assert positions.shape[1] == np.prod(MaskGrid(shape, 8, 4).latent_shape)
    assert (positions[0] != positions[1]).any(dim=1).sum() == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_no_mask_missing_and_not_asked_are_three_things(shape):
    *_, none = masks_of(shape)
    _, (empty, missing) = encoded(shape, none, None)
    _, (null,) = encoded(shape, none, null=True)
    found = [empty, missing, null]
    assert all((found[a] - found[b])[1:].abs().amax() > 0.01 for a, b in [(0, 1), (0, 2), (1, 2)])


def test_a_sketch_is_read_by_its_grays():
    schema = AttributeSchema((Attribute("outline", "mask"),))
    gray = np.full((8, 8, 1), 51, np.uint8)
    masks = {mask_digest(gray): gray, mask_digest(2 * gray): 2 * gray}
    rows = [{"outline": digest} for digest in masks]
    trained = learn_attributes(schema, rows, masks, MaskGrid((8, 8, 1), 8, 4))
    encoder = ConditionEncoder(schema, trained, 8)
    planes = encoder.readers[0]._planes(encode_attributes(schema, trained, rows, masks).values)
    assert planes.amax(dim=(1, 2)).flatten().tolist()[:1] == pytest.approx([0.2])
    assert encoder(encode_attributes(schema, trained, rows, masks)).isfinite().all()


def test_masks_that_training_never_saw_are_refused_by_name():
    shape = SHAPES[0]
    masks = {d: m for d, m in masks_of(shape).items() if not (m == 2).any()}
    trained = trained_on(masks, shape)
    rim, small = np.full(shape, 2, np.uint8), np.ones((8, 8, 1), np.uint8)
    given = {mask_digest(mask): mask for mask in (rim, small, rim + 1)}
    for mask, reason in [
        (rim, "lesion must be one of the trained values core"),
        (small, "lesion: a mask must have the scans' shape"),
        (rim + 1, "lesion must have the labels core, rim"),
    ]:
        with pytest.raises(ValueError, match=reason):
            check_request(SCHEMA, trained, {"lesion": mask_digest(mask)}, given)
    with pytest.raises(ValueError, match="lesion: a mask is asked for with its picture"):
        check_request(SCHEMA, trained, {"lesion": mask_digest(rim)})
    check_request(SCHEMA, trained, {"lesion": next(iter(masks))}, masks)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_changes_what_is_drawn_and_only_its_own_scan(shape):
    masks = masks_of(shape)
    one, two, none = masks
    moved = np.roll(masks[one], 4, axis=0)  # by a latent position: what all tell together stays
    masks[mask_digest(moved)] = moved
    trained, dims = trained_on(masks, shape), 2 if shape[2] == 1 else 3
    torch.manual_seed(0)
    encoder = ConditionEncoder(SCHEMA, trained, 16)
    config = DenoiserConfig(
        dims, 2, encoder.num_tokens, channels=(16, 16), token_dim=16, norm_groups=8,
        has_positions=encoder.has_positions,
    )  # fmt: skip
    denoiser = Denoiser(config)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    autoencoder = Autoencoder(AutoencoderConfig(dims, (8, 8), latent_channels=2))
    scale, frame = LatentScale(np.zeros(2), np.ones(2)), MaskGrid(shape, 8, 4).frame
    ours = Synthesizer(autoencoder, encoder, denoiser, scale, frame, SCHEMA, trained, masks=masks)
    how = SamplerConfig(num_steps=2, batch=2)
    asked = [{"age": 21.0, "lesion": d} for d in (one, two, none, mask_digest(moved))]
    first = ours.draw(asked, [0] * 4, 0, how)
    again = ours.draw(asked[:1], [0], 0, how)
    assert np.array_equal(first[0], again[0])
    assert min(np.abs(first[a] - first[b]).max() for a in range(4) for b in range(a)) > 1e-4


def test_every_weight_takes_part():
    shape = SHAPES[0]
    encoder, tokens = encoded(shape, *masks_of(shape), None)
    tokens.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
