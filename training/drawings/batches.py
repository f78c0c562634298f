"""Batches of training pictures: some drawing of each concept, composed and augmented."""

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from training.drawings.augment import augment, normalise
from training.drawings.compose import KINDS, Drawings, compose
from training.drawings.move import Freedom
from training.drawings.rasterise import plane_path
from training.recipe import PictureStage
from training.sources.looks import Look

PAINTS = (("plain", "flat"), ("plain",), ())
"""Of each kind, the planes in colour."""
INKS = (("thin", "thick"), (), ("ink", "filled"))
"""Of each kind, the planes in one colour: either two or none."""


class TrainingPictures:
    """Every drawing of some looks, in memory as uint8 (about 0.5 GB for all that are learned from)."""

    def __init__(
        self, work: Path, looks: tuple[Look, ...], freedom: Tensor, stage: PictureStage, device: torch.device
    ) -> None:
        """freedom: per concept whether it may be mirrored and whether turned far, bool [concepts, 2]."""
        self._stage, self._device = stage, device
        paints: list[NDArray[np.uint8]] = []
        inks: list[NDArray[np.uint8]] = []
        # Per drawing: label, whether of an icon set, kind, and the places of plain, flat and both inks.
        rows: list[tuple[int, ...]] = []
        painted = inked = 0
        for look in looks:
            labels = np.load(plane_path(work, look.name, "labels")).tolist()
            count, kind = len(labels), KINDS.index(look.kind)
            paints += [np.load(plane_path(work, look.name, plane)) for plane in PAINTS[kind]]
            inks += [np.load(plane_path(work, look.name, plane)) for plane in INKS[kind]]
            for row, label in enumerate(labels):
                plain = painted + row if PAINTS[kind] else 0
                flat = plain + count if len(PAINTS[kind]) == 2 else plain
                ink, second = (inked + row, inked + count + row) if INKS[kind] else (0, 0)
                rows.append((label, int(look.icons), kind, plain, flat, ink, second))
            painted += len(PAINTS[kind]) * count
            inked += len(INKS[kind]) * count
        self._paints = torch.from_numpy(np.concatenate(paints)).to(device)
        self._inks = torch.from_numpy(np.concatenate(inks)).to(device)
        self._rows = torch.tensor(rows)
        self._of_label: dict[int, tuple[list[int], list[int]]] = {}
        for number, (label, of_icon_set, *_) in enumerate(rows):
            self._of_label.setdefault(label, ([], []))[of_icon_set].append(number)
        self.labels = sorted(self._of_label)
        self._freedom = freedom

    def _choose(self, label: int, chance: random.Random) -> int:
        emoji, icons = self._of_label[label]
        if icons and (not emoji or chance.random() < self._stage.icon_share):
            return chance.choice(icons)
        return chance.choice(emoji)

    def batch(
        self, labels: list[int], strength: float, chance: random.Random, generator: Generator
    ) -> Tensor:
        """One drawing per label at random, composed and augmented: [batch, 3, 64, 64], normalised."""
        rows = self._rows[[self._choose(label, chance) for label in labels]].T
        _labels, _of_icon_sets, kinds, plain, flat, ink, second = rows
        drawings = Drawings(
            kinds=kinds,
            plain=self._paints[plain.to(self._device)],
            flat=self._paints[flat.to(self._device)],
            ink=self._inks[ink.to(self._device)],
            second_ink=self._inks[second.to(self._device)],
        )
        pictures = compose(drawings, 1 - strength * (1 - self._stage.drawn_share), generator)
        mirrored, turned = self._freedom[labels].T
        return normalise(augment(pictures, Freedom(mirrored, turned), strength, generator))
