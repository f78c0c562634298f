"""Makes training pictures differ in what does not change their meaning: place, size, colours, lines.

Works on whole batches of premultiplied RGBA in 0–1, [batch, 4, 64, 64]. `strength` 0 moves the picture
lightly on a white ground; 1 adds every change of style.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.drawings.move import Freedom, move, uniform

_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
_LUMINANCE = torch.tensor([0.299, 0.587, 0.114])


def normalise(pixels: Tensor) -> Tensor:
    """[batch, 3, h, w] in 0–1 to the vision tower's input (CLIP's mean and deviation)."""
    return (pixels - _MEAN.to(pixels.device)) / _STD.to(pixels.device)


def on_ground(pictures: Tensor, ground: Tensor) -> Tensor:
    """Composites premultiplied [batch, 4, h, w] on a colour [batch, 3, 1, 1]: [batch, 3, h, w]."""
    return pictures[:, :3] + ground * (1 - pictures[:, 3:])


def _recolour(pictures: Tensor, chance: Generator) -> Tensor:
    """Random hue turn, saturation (down to grey), contrast and brightness per picture."""
    count = len(pictures)
    # A turn about the grey axis (Rodrigues' formula), mostly small, now and then anywhere on the wheel.
    wide = torch.rand(count, generator=chance) < 0.25
    angle = torch.where(wide, uniform(count, -math.pi, math.pi, chance), uniform(count, -0.35, 0.35, chance))
    cosine, sine = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    third, root = 1 / 3, math.sqrt(1 / 3)
    cross = torch.tensor([[0.0, -root, root], [root, 0.0, -root], [-root, root, 0.0]])
    turn = cosine * torch.eye(3) + (1 - cosine) * third + sine * cross
    grey = torch.rand(count, generator=chance) < 0.12
    saturation = torch.where(grey, torch.zeros(count), uniform(count, 0.5, 1.6, chance)).view(-1, 1, 1)
    matrix = ((saturation * torch.eye(3) + (1 - saturation) * _LUMINANCE.view(1, 1, 3)) @ turn).to(
        pictures.device
    )
    contrast = uniform(count, 0.6, 1.4, chance).view(-1, 1, 1, 1).to(pictures.device)
    brightness = uniform(count, -0.15, 0.15, chance).view(-1, 1, 1, 1).to(pictures.device)
    colours, alpha = pictures[:, :3], pictures[:, 3:]
    mixed = torch.einsum("nij,njhw->nihw", matrix, colours)
    mixed = contrast * mixed + (0.5 * (1 - contrast) + brightness) * alpha
    return torch.cat([torch.minimum(mixed.clamp(min=0), alpha), alpha], dim=1)


def _ring(pictures: Tensor, width: int) -> Tensor:
    """A black outline of `width` pixels around the picture's silhouette."""
    alpha = pictures[:, 3:]
    grown = F.max_pool2d(alpha, 2 * width + 1, stride=1, padding=width)
    return torch.cat([pictures[:, :3], torch.maximum(alpha, grown)], dim=1)


def _contours(pixels: Tensor) -> Tensor:
    """Black lines on white wherever the picture changes: a drawing of its edges."""
    spread = F.max_pool2d(pixels, 3, 1, 1) + F.max_pool2d(-pixels, 3, 1, 1)
    edge = (spread.amax(dim=1, keepdim=True) * 2.2 - 0.25).clamp(0, 1)
    return (1 - edge).expand(-1, 3, -1, -1)


def _erase(pixels: Tensor, chance: Generator) -> Tensor:
    """A white square of 8 to 24 pixels on each picture, so that no single detail decides."""
    count, side = len(pixels), pixels.shape[-1]
    length = torch.randint(8, 25, (count, 1), generator=chance)
    start = (torch.rand(count, 2, generator=chance) * (side + 1 - length)).long()
    place = torch.arange(side).view(1, side)
    down = (place >= start[:, :1]) & (place < start[:, :1] + length)
    across = (place >= start[:, 1:]) & (place < start[:, 1:] + length)
    erased = (down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1).to(pixels.device)
    return pixels.masked_fill(erased, 1.0)


def augment(pictures: Tensor, freedom: Freedom, strength: float, chance: Generator) -> Tensor:
    """Premultiplied [batch, 4, 64, 64] to varied pictures [batch, 3, 64, 64] in 0–1.

    The chances are drawn on the CPU, so that every device sees the same pictures.
    """
    count, device = len(pictures), pictures.device

    def some(share: float) -> Tensor:
        """Indices of a random share of the batch."""
        return (torch.rand(count, generator=chance) < share * strength).nonzero().flatten().to(device)

    pictures = move(pictures, freedom, strength, chance)
    ground = torch.ones(count, 3, 1, 1)
    if strength > 0:
        chosen = some(0.7)
        pictures[chosen] = _recolour(pictures[chosen], chance)
        for width in (1, 2):
            chosen = some(0.08)
            pictures[chosen] = _ring(pictures[chosen], width)
        painted = torch.rand(count, 1, 1, 1, generator=chance) < 0.12 * strength
        ground = torch.where(painted, torch.rand(count, 3, 1, 1, generator=chance), ground)
    pixels = on_ground(pictures, ground.to(device))
    if strength > 0:
        chosen = some(0.05)
        pixels[chosen] = _contours(pixels[chosen])
        chosen = some(0.06)
        pixels[chosen] = -F.max_pool2d(-pixels[chosen], 3, 1, 1)  # dark lines grow thicker
        chosen = some(0.08)
        pixels[chosen] = F.avg_pool2d(pixels[chosen], 3, 1, 1)
        chosen = some(0.03)
        pixels[chosen] = 1 - pixels[chosen]
        chosen = some(0.15)
        pixels[chosen] = _erase(pixels[chosen], chance)
    return pixels.clamp(0, 1)
