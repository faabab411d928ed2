"""One network of several: the mean of their logits, in one graph that every engine runs as it runs any other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Mean(nn.Module):
    """The mean of what `networks` answer; of one, what it answers."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, ...) to logits."""
        first, *others = self.networks
        logits: Tensor = first(image)
        return torch.stack([logits, *(network(image) for network in others)]).mean(0) if others else logits
