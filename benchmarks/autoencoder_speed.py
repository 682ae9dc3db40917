"""B5: the autoencoder's two ways in bf16, beside MONAI's AutoencoderKL in fp32 with equal weights.

    OMP_NUM_THREADS=1 python -m benchmarks.autoencoder_speed [--rounds 7] [--quick] [--write]

A short training on smooth phantoms gives weights that reconstruct; phantoms that it never saw, of
256x256 and of 64x64x64, are then encoded and decoded. Beside the whole decoding in 3D stands
that of MAISI: overlapping windows under Gaussian weights, in fp32.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from benchmarks.comparison import Gate, Result, arguments, best_device, interleaved, tell
from benchmarks.roofline import Machine, flop_of
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig, from_patches, to_patches

LOST = 0.1
"""dB of PSNR that bf16 may cost."""
CONFIGS = {2: AutoencoderConfig(2, (32, 64, 64)), 3: AutoencoderConfig(3, (32, 64))}


def phantoms(count: int, sides: tuple[int, ...], seed: int) -> Tensor:
    """Smooth bodies with sharp edges in [-1, 1]."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, *sides))
    wide, fine = (np.stack([gaussian_filter(one, s) for one in noise]) for s in (4, 1))
    body = (wide > 0) * (0.6 + 0.3 * np.tanh(20 * wide)) + 0.3 * fine
    return torch.from_numpy(np.clip(2 * body - 1, -1, 1)[:, None].astype(np.float32))


def trained(config: AutoencoderConfig, steps: int, device: torch.device) -> Autoencoder:
    """An autoencoder after so many steps on crops."""
    torch.manual_seed(0)
    network = Autoencoder(config).to(device)
    crops = phantoms(64, (32,) * config.spatial_dims if config.spatial_dims == 2 else (16,) * 3, 1)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        images = crops[8 * step % 64 :][:8].to(device)
        loss = F.l1_loss(network.decode(network.encode(images)), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def psnr(output: Tensor, images: Tensor) -> float:
    return float(10 * torch.log10(4 / F.mse_loss(output.float(), images)))


def compare(
    dims: int, side: int, steps: int, rounds: int, machine: Machine, device: torch.device
) -> Iterator[Result]:
    ours = trained(CONFIGS[dims], steps, device)
    peer, patch = copy.deepcopy(ours.network), ours.config.patch
    images = phantoms(1, (side,) * dims, 2).to(device)
    patches = to_patches(images, patch)
    shape = "x".join([str(side)] * dims)

    def in_bf16(way: str, given: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            found: Tensor = getattr(ours, way)(given)
        return found

    def in_fp32(way: str, given: Tensor) -> Tensor:
        with torch.no_grad():
            return peer.encode(given)[0] if way == "encode" else peer.decode(given)

    latents = in_fp32("encode", patches)
    theirs = psnr(from_patches(in_fp32("decode", latents), patch), images)
    own = psnr(in_bf16("decode", in_bf16("encode", images).float()), images)
    gate = Gate(f"dB lost, of {theirs:.2f} dB of PSNR,", theirs - own, LOST)
    for way, read, given in (("encode", images, patches), ("decode", latents, latents)):
        limit = machine.limit(flop_of(lambda w=way, r=read: in_bf16(w, r)), torch.bfloat16)
        seconds = interleaved(
            rounds,
            lambda w=way, g=given: in_fp32(w, g),
            lambda w=way, r=read: in_bf16(w, r),
        )
        what = f"{shape}, factor {ours.config.factor}, {way}: MONAI fp32"
        yield Result(what, *seconds, 1.6, limit, (gate,))
    if dims == 3:
        window = latents.shape[-1] // 2
        windows = SlidingWindowInferer((window,) * 3, 1, overlap=0.4, mode="gaussian")
        seconds = interleaved(
            max(2, rounds // 2),
            lambda: windows(latents, lambda part: in_fp32("decode", part)),
            lambda: in_bf16("decode", latents),
        )
        goal = 5.0 if device.type == "cuda" else None
        what = f"{shape}, decode: MAISI's windows of {window} latents"
        yield Result(what, *seconds, goal, limit, (gate,))


def main() -> None:
    given = arguments(__doc__).parse_args()
    device = best_device()
    machine = Machine.measure(device)
    cases = [(2, 32, 4), (3, 16, 2)] if given.quick else [(2, 256, 200), (3, 64, 100)]
    results = [r for case in cases for r in compare(*case, given.rounds, machine, device)]
    tell("B5, autoencoder", results, machine, (), given.write)


if __name__ == "__main__":
    main()
