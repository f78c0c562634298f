"""Mixes a drawing's planes into one of many looks: as drawn, flat, outlined, few colours, silhouettes.

No set of colour emoji is drawn in black outlines and some are all gradients; no icon is coloured. Since every
drawing was also rendered flat, and its lines apart, other looks are made here at no cost of rendering.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

KINDS = ("colour", "painted", "ink")
"""A drawing's kind is its place here: in its own colours, the same without lines apart, in one colour."""
PAINTED, INK = 1, 2


@dataclass(frozen=True)
class Drawings:
    """kinds [batch], on the CPU; plain and flat RGBA [batch, 64, 64, 4] and both inks [batch, 64, 64], uint8.

    The inks of a coloured drawing are thin and thick lines around its shapes; of one in one colour the
    drawing itself, and the same with what it encloses.
    """

    kinds: Tensor
    plain: Tensor
    flat: Tensor
    ink: Tensor
    second_ink: Tensor


def premultiplied(rgba: Tensor) -> Tensor:
    """uint8 [batch, h, w, 4] to premultiplied floats [batch, 4, h, w] in 0–1."""
    floats = rgba.permute(0, 3, 1, 2).to(torch.float32) / 255
    alpha = floats[:, 3:]
    return torch.cat([floats[:, :3] * alpha, alpha], dim=1)


def compose(drawings: Drawings, as_drawn: float, chance: Generator) -> Tensor:
    """Premultiplied pictures [batch, 4, 64, 64]; `as_drawn` is the share left as their makers drew them."""
    count, device = len(drawings.kinds), drawings.plain.device
    kinds = drawings.kinds
    drawn = (torch.rand(count, generator=chance) < as_drawn) | (kinds == PAINTED)
    result = torch.empty(count, 4, *drawings.plain.shape[1:3], device=device)
    for chosen, make in (
        (((kinds != INK) & drawn).nonzero()[:, 0], _as_drawn),
        (((kinds != INK) & ~drawn).nonzero()[:, 0], _redrawn),
        ((kinds == INK).nonzero()[:, 0], _inked),
    ):
        if len(chosen):
            there = chosen.to(device)
            result[there] = make(drawings, there, as_drawn, chance)
    return result


def _as_drawn(drawings: Drawings, chosen: Tensor, _: float, __: Generator) -> Tensor:
    return premultiplied(drawings.plain[chosen])


def _redrawn(drawings: Drawings, chosen: Tensor, _: float, chance: Generator) -> Tensor:
    """Flat fills, some in few colours or white, most with thin or thick black lines."""
    count, device = len(chosen), chosen.device
    picture = premultiplied(drawings.flat[chosen])
    colours, alpha = picture[:, :3], picture[:, 3:]
    look = torch.rand(count, generator=chance)
    steps = (1.0 + torch.randint(0, 3, (count, 1, 1, 1), generator=chance)).to(device)
    few, white = (
        ((look >= low) & (look < high)).view(-1, 1, 1, 1).to(device)
        for low, high in ((0.35, 0.6), (0.6, 0.85))
    )
    colours = torch.where(few, (colours * steps).round() / steps, colours)
    colours = torch.where(white, alpha, colours)
    width = torch.rand(count, generator=chance)
    # White fills are nothing without lines; of the others a quarter has none.
    lined = ((torch.rand(count, generator=chance) < 0.75) | (look >= 0.6)).view(-1, 1, 1).to(device)
    thick = (width < 0.5).view(-1, 1, 1).to(device)
    lines = torch.where(thick, drawings.second_ink[chosen], drawings.ink[chosen]).to(torch.float32) / 255
    lines = (lines * lined).unsqueeze(1)
    return torch.cat([torch.minimum(colours, alpha) * (1 - lines), torch.maximum(alpha, lines)], dim=1)


def _inked(drawings: Drawings, chosen: Tensor, as_drawn: float, chance: Generator) -> Tensor:
    """Black or dark ink, over nothing, white or a colour in what it encloses; now and then a silhouette."""
    count, device = len(chosen), chosen.device
    ink = drawings.ink[chosen].to(torch.float32).unsqueeze(1) / 255
    within = drawings.second_ink[chosen].to(torch.float32).unsqueeze(1) / 255
    look = torch.rand(count, generator=chance)
    look = torch.where(torch.rand(count, generator=chance) < as_drawn, torch.zeros(count), look)
    dark = torch.rand(count, 3, 1, 1, generator=chance) * 0.8
    dark = torch.where(torch.rand(count, 1, 1, 1, generator=chance) < 0.6, torch.zeros_like(dark), dark)
    fill = torch.rand(count, 3, 1, 1, generator=chance) * 0.7 + 0.3
    fill = torch.where((look < 0.6).view(-1, 1, 1, 1), torch.ones_like(fill), fill)
    filled = (look >= 0.35).to(torch.float32).view(-1, 1, 1, 1).to(device)
    colours = dark.to(device) * ink + fill.to(device) * (within - ink).clamp(min=0) * filled
    alpha = torch.maximum(ink, within * filled)
    return torch.cat([torch.minimum(colours, alpha), alpha], dim=1)
