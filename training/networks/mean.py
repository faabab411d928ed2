"""Means of answers, in one graph that every engine runs as it runs any other: of several networks, of both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def both_sides(ask: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of what `ask` says of an image (n, channels, ...) and of its mirror image (last axis).

    Masks are mirrored back; an answer of fewer axes than the image has none to mirror.
    """
    answer, mirrored = ask(image), ask(image.flip(-1))
    return (answer + (mirrored.flip(-1) if mirrored.ndim == image.ndim else mirrored)) / 2


class Mean(nn.Module):
    """The mean of what `networks` answer; of one, what it answers.

    Args:
        networks: Each answers with logits.
        mirror: Ask each for both sides.
    """

    def __init__(self, networks: Sequence[nn.Module], *, mirror: bool = False) -> None:
        super().__init__()
        self.networks, self.mirror = nn.ModuleList(networks), mirror

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, ...) to logits."""
        answers: list[Tensor] = [both_sides(each, image) if self.mirror else each(image) for each in self.networks]
        return answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)
