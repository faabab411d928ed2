"""One network of several: the mean of their logits, in one graph that every engine runs as it runs any other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Mean(nn.Module):
    """The mean of what `networks` answer; of one, what it answers.

    Args:
        networks: Each answers with logits.
        mirror: Ask each for the image's mirror image (last axis) too; masks only.
    """

    def __init__(self, networks: Sequence[nn.Module], *, mirror: bool = False) -> None:
        super().__init__()
        self.networks, self.mirror = nn.ModuleList(networks), mirror

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, ...) to logits."""
        answers: list[Tensor] = [network(image) for network in self.networks]
        if self.mirror:
            mirrored = image.flip(-1)
            answers += [network(mirrored).flip(-1) for network in self.networks]
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)
