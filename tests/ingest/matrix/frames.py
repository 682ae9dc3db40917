"""Further cases of enhanced multi-frame images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matrix.case import Expectation, Wanted, case, of_grids
from matrix.files import save
from matrix.multiframe import (
    ENHANCED_MR,
    ENHANCED_PET,
    Frame,
    content,
    diffusion,
    echo,
    enhanced,
    frames_of,
    item,
    truth,
)
from matrix.phantom import AXIAL, CORONAL, ORIGIN, SAGITTAL, SMALL, Grid
from matrix.scored import DIRECTIONS, oblique
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

DAMAGED = ("multi_frame", "bad_element", "truncated", "no_geometry", "decode_failed")
MR: dict[str, Any] = {"storage": ENHANCED_MR, "modality": "MR", "kind": "US"}


def image(folder: Path, frames: list[Frame], **options: Any) -> Dataset:
    """Write one multi-frame file."""
    dataset = enhanced(frames, **options)
    save(dataset, folder / "image")
    return dataset


def split(
    folder: Path, volumes: list[list[Frame]], about: list[dict[str, Any]], **options: Any
) -> Expectation:
    """One file whose frames, one volume after the other slice by slice, make several volumes."""
    woven = [frame for slices in zip(*volumes, strict=True) for frame in slices]
    dataset = image(folder, woven, **options)
    wants = [
        of_grids(truth(dataset, frames), constant=frames[0].constant, acquisition=words)
        for frames, words in zip(volumes, about, strict=True)
    ]
    return Expectation(tuple(wants))


@case("enhanced, rescale per frame")
def per_frame_rescale(folder: Path) -> Expectation:
    frames = [replace(f, slope=0.1 * (k + 1)) for k, f in enumerate(frames_of(8, grid=SMALL))]
    dataset = image(folder, frames, is_shared=False)
    return Expectation((of_grids(truth(dataset, frames)),))


@case("enhanced, oblique, all per frame")
def enhanced_oblique(folder: Path) -> Expectation:
    grid = oblique(spacing=(0.6, 0.9), shape=SMALL.shape)
    frames = frames_of(8, grid=grid, step=3 * grid.normal)
    dataset = image(folder, frames, is_shared=False)
    return Expectation((of_grids(truth(dataset, frames)),))


@case("enhanced, tilted")
def enhanced_tilt(folder: Path) -> Expectation:
    angle = np.deg2rad(10)
    grid = Grid(ORIGIN, (1, 0, 0, 0, np.cos(angle), np.sin(angle)), (1, 1), SMALL.shape)
    frames = frames_of(8, grid=grid)
    dataset = image(folder, frames)
    volume = of_grids(truth(dataset, frames), flags={"sheared"}, acquisition={"ShearAngle": 10.0})
    return Expectation((volume,))


@case("enhanced PET")
def enhanced_pet(folder: Path) -> Expectation:
    frames = [
        replace(f, slope=0.1 * (k + 1), intercept=0.0)
        for k, f in enumerate(frames_of(8, grid=SMALL))
    ]
    options = {"storage": ENHANCED_PET, "modality": "PT", "kind": "BQML", "is_shared": False}
    dataset = image(folder, frames, **options)
    return Expectation((of_grids(truth(dataset, frames)),))


@case("enhanced, one frame")
def enhanced_single(folder: Path) -> Expectation:
    dataset = image(folder, frames := frames_of(1, grid=SMALL))
    return Expectation((of_grids(truth(dataset, frames), flags={"single_slice"}),))


@case("enhanced three-plane localizer")
def enhanced_localizer(folder: Path) -> Expectation:
    stacks = [
        frames_of(5, grid=Grid(ORIGIN, direction, (1, 1), SMALL.shape), step=step)
        for direction, step in [(AXIAL, (0, 0, 6)), (CORONAL, (0, 6, 0)), (SAGITTAL, (6, 0, 0))]
    ]
    every = [frame for frames in stacks for frame in frames]
    dataset = image(folder, every, is_shared=False)
    return Expectation(tuple(of_grids(truth(dataset, frames)) for frames in stacks))


@case("enhanced MR, echoes")
def enhanced_echoes(folder: Path) -> Expectation:
    volumes = [
        frames_of(6, grid=SMALL, constant=1000.0 * n, intercept=0.0, groups=echo(10.0 * n))
        for n in (1, 2, 3)
    ]
    return split(folder, volumes, [{"EchoTime": 10.0 * n} for n in (1, 2, 3)], **MR)


@case("enhanced MR, temporal positions")
def enhanced_phases(folder: Path) -> Expectation:
    volumes = [
        frames_of(
            6,
            grid=SMALL,
            constant=1000.0 * n,
            intercept=0.0,
            groups=content(TemporalPositionIndex=n),
        )
        for n in (1, 2, 3)
    ]
    return split(folder, volumes, [{"TemporalPositionIndex": n} for n in (1, 2, 3)], **MR)


@case("enhanced MR, diffusion")
def enhanced_diffusion(folder: Path) -> Expectation:
    about: list[dict[str, Any]] = [{"DiffusionBValue": 0.0}]
    about += [{"DiffusionBValue": 800.0, "DiffusionGradientOrientation": d} for d in DIRECTIONS]
    volumes = []
    for n, words in enumerate(about):
        group = diffusion(words["DiffusionBValue"], words.get("DiffusionGradientOrientation"))
        volumes.append(
            frames_of(6, grid=SMALL, constant=1000.0 * (n + 1), intercept=0.0, groups=group)
        )
    return split(folder, volumes, about, **MR)


@case("enhanced MR, magnitude and phase")
def enhanced_parts(folder: Path) -> Expectation:
    volumes = []
    for n, kind in enumerate(("MAGNITUDE", "PHASE")):
        frame_type = ["ORIGINAL", "PRIMARY", "M" if n == 0 else "P", "NONE"]
        group = {"MRImageFrameTypeSequence": item(FrameType=frame_type, ComplexImageComponent=kind)}
        volumes.append(
            frames_of(6, grid=SMALL, constant=1000.0 * (n + 1), intercept=0.0, groups=group)
        )
    return split(folder, volumes, [{}, {}], **MR)


@case("enhanced MR, time by trigger delay alone")
def enhanced_cine(folder: Path) -> Expectation:
    volumes = [
        frames_of(
            6,
            grid=SMALL,
            constant=1000.0 * n,
            intercept=0.0,
            groups={
                "CardiacSynchronizationSequence": item(NominalCardiacTriggerDelayTime=50.0 * n)
            },
        )
        for n in (1, 2, 3)
    ]
    expected = split(folder, volumes, [{}, {}, {}], **MR)
    return Expectation(expected.volumes, instead=("duplicate_conflict",))


@case("enhanced, two stacks")
def two_stacks(folder: Path) -> Expectation:
    stacks = [
        frames_of(5, grid=SMALL.moved((0, 0, 100.0 * n)), groups=content(StackID=str(n + 1)))
        for n in (0, 1)
    ]
    every = [frame for frames in stacks for frame in frames]
    dataset = image(folder, every)
    return Expectation(tuple(of_grids(truth(dataset, frames)) for frames in stacks))


@case("enhanced, two files of one volume")
def concatenation(folder: Path) -> Expectation:
    frames = frames_of(10, grid=SMALL)
    known = []
    for number, part in enumerate((frames[:5], frames[5:])):
        tags = {"ConcatenationUID": "1.2.3.77", "InConcatenationNumber": number + 1}
        dataset = enhanced(part, **tags)
        save(dataset, folder / f"part{number}")
        known += truth(dataset, part)
    return Expectation((of_grids(known),))


@case("enhanced, NumberOfFrames too large")
def too_many_frames(folder: Path) -> Expectation:
    return declared(folder, 12)


@case("enhanced, NumberOfFrames too small")
def too_few_frames(folder: Path) -> Expectation:
    return declared(folder, 6)


@case("enhanced, zero frames")
def zero_frames(folder: Path) -> Expectation:
    return declared(folder, 0)


def declared(folder: Path, count: int) -> Expectation:
    """Eight frames of pixels and positions under another NumberOfFrames."""
    image(folder, frames_of(8, grid=SMALL), NumberOfFrames=count)
    return Expectation(refused={"|".join(DAMAGED): 1})


@case("enhanced, no positions")
def no_positions(folder: Path) -> Expectation:
    dataset = enhanced(frames_of(8, grid=SMALL))
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    save(dataset, folder / "image")
    return Expectation(refused={"no_geometry|multi_frame": 1})


@case("enhanced, one frame without position")
def lost_position(folder: Path) -> Expectation:
    frames = frames_of(8, grid=SMALL)
    dataset = enhanced(frames)
    dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence = Items([])
    save(dataset, folder / "image")
    known: list[tuple[str, Grid]] = truth(dataset, frames)
    flags = {"missing_slices"}
    volume: Wanted = of_grids(
        known[:3] + known[4:], 8, flags=flags, maybe={"files_quarantined"}, observed=7 / 8
    )
    return Expectation((volume,), {}, instead=("no_geometry", "multi_frame", "bad_element"))


@case("multi-frame without functional groups")
def bare_frames(folder: Path) -> Expectation:
    dataset = enhanced(frames_of(8, grid=SMALL))
    del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
    dataset.ImagePositionPatient, dataset.PixelSpacing = list(ORIGIN), [1, 1]
    dataset.ImageOrientationPatient = list(AXIAL)
    save(dataset, folder / "image")
    return Expectation(refused={"multi_frame|no_geometry": 1})
