"""Lesions drawn into healthy livers: real tumours are few, livers without one are many.

After the idea of Hu et al. 2023 (Label-Free Liver Tumor Segmentation), reduced to what one slice needs: a lumpy ellipse
with a soft border, darker than the liver around it, with the image's own noise left in place.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LIVER, TUMOUR = 0, 1


def insert_lesions(inputs: Tensor, targets: Tensor, trusted: Tensor, positive: Tensor, share: float) -> None:
    """Draws one to three lesions, in place, into `share` of the slices whose liver is known to be healthy.

    Args:
        inputs: (n, 1, h, w), grey values of `ct-slices-v1`, 0..1 for 0..255 HU.
        targets: (n, 2, h, w), liver (with tumours) and tumour, 0..1.
        trusted: (n, 2).
        positive: (n, 2); set for the slices that get a lesion.
        share: Probability for each such slice.
    """
    area = targets[:, LIVER].sum(dim=(1, 2))
    healthy = (trusted[:, TUMOUR] > 0) & (targets[:, TUMOUR].sum(dim=(1, 2)) == 0) & (area > 600)
    for index in torch.nonzero(healthy & (torch.rand(len(inputs)) < share)).flatten().tolist():
        for _ in range(int(torch.randint(1, 4, ()))):
            _draw(inputs[index, 0], targets[index], float(area[index]))
        positive[index, TUMOUR] = 1


def _draw(image: Tensor, target: Tensor, area: float) -> None:
    """Draws one lesion into image (h, w) and target (2, h, w)."""
    liver = target[LIVER]
    points = torch.nonzero(liver > 0.99)
    if not len(points):
        return
    centre = points[int(torch.randint(len(points), ()))].float()
    radius = float(torch.empty(()).uniform_(2.5, max(4.0, min(26.0, 0.22 * area**0.5))))
    weight = _shape(centre, radius, image.shape) * liver
    contrast = float(torch.empty(()).uniform_(0.04, 0.28))
    inside = image[liver > 0.99]
    floor = max(0.05, float(inside.median()) - contrast)
    darker = image - (float(inside.median()) - floor) * (1 + 0.25 * _waves(image.shape, 10))
    image.copy_(torch.where(weight > 0, image + (darker.clamp(0, 1) - image) * weight, image))
    torch.maximum(target[TUMOUR], (weight > 0.5).float() * liver, out=target[TUMOUR])


def _shape(centre: Tensor, radius: float, size: torch.Size) -> Tensor:
    """Weight of a lumpy, rotated ellipse: 1 inside, 0 outside, a border about two pixels wide."""
    rows = torch.arange(size[0])[:, None] - centre[0]
    columns = torch.arange(size[1])[None] - centre[1]
    angle, stretch = torch.rand(()) * torch.pi, torch.empty(()).uniform_(0.7, 1.3)
    along = (rows * torch.cos(angle) + columns * torch.sin(angle)) * stretch
    across = (columns * torch.cos(angle) - rows * torch.sin(angle)) / stretch
    distance = torch.sqrt(along**2 + across**2)
    return ((radius * (1 + 0.25 * _waves(size, max(4.0, radius))) - distance) / 2 + 0.5).clamp(0, 1)


def _waves(size: torch.Size, scale: float) -> Tensor:
    """Smooth noise, about -1..1, varying over `scale` pixels."""
    coarse = torch.randn(1, 1, max(2, int(size[0] / scale)), max(2, int(size[1] / scale))) * 0.6
    return functional.interpolate(coarse, size, mode="bicubic", align_corners=True)[0, 0]
