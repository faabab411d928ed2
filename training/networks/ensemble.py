"""Means of answers, in one graph that every engine runs as it runs any other: of several networks, of both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Of = Literal["logits", "probabilities"]
LEAST = 1e-4
"""What is added to a probability before its logarithm is taken: 16 bits can say it, and no logit is beyond 9.2."""


def both_sides(ask: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of what `ask` says of an image (n, channels, ...) and of its mirror image (last axis).

    Masks are mirrored back; an answer of fewer axes than the image has none to mirror.
    """
    answer, mirrored = ask(image), ask(image.flip(-1))
    return (answer + (mirrored.flip(-1) if mirrored.ndim == image.ndim else mirrored)) / 2


class Mean(nn.Module):
    """The mean of what `networks` answer; of one, what it answers.

    Networks of different kinds err in different places, so the mean is better than most of them and seldom worse than
    the best. In a mean of logits the surest outvotes the others; where one is surer of itself than it should be, the
    mean of probabilities is better.

    Args:
        networks: Each answers with logits.
        mirror: Ask each for both sides.
        of: What the mean is taken of; the answer is a logit either way.
    """

    def __init__(self, networks: Sequence[nn.Module], *, mirror: bool = False, of: Of = "logits") -> None:
        super().__init__()
        self.networks, self.mirror, self.of = nn.ModuleList(networks), mirror, of

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, ...) to logits."""
        answers: list[Tensor] = [both_sides(each, image) if self.mirror else each(image) for each in self.networks]
        if len(answers) == 1:
            return answers[0]
        logits = torch.stack(answers)
        if self.of == "logits":
            return logits.mean(0)
        # p and 1 - p are means by themselves: near 1, 1 - p is noise
        yes, no = torch.sigmoid(logits).mean(0), torch.sigmoid(-logits).mean(0)
        return torch.log(yes + LEAST) - torch.log(no + LEAST)
