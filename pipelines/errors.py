"""What can go wrong in rules and pipelines, by whose fault it is.

    PipelineError
    ├── RulesInvalid            the rule file is wrong: hospital IT must change it
    ├── UnknownPipeline         somebody asked for a pipeline that there is not
    ├── ModelMissing            somebody must install a model package
    ├── BrainNotFound           the images do not show a brain as a whole; what reads slice by slice may still
    └── ModelsDiffer            the packages were replaced, or another machine has other ones

A study that no rule takes is not an error: `route` answers `Unmatched`. A series that is no regular volume is
`dicomio.errors.GeometryRefused`. The docstring of a class is its message (up to "Attributes:"), filled in with the data
that the exception carries; an exception is made with keywords and can be pickled (workers send them home).
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(eq=False, kw_only=True)
class PipelineError(Exception):
    """A rule or a pipeline failed."""

    def __str__(self) -> str:
        text = inspect.cleandoc(type(self).__doc__ or "").split("\n\nAttributes:")[0]
        return " ".join(text.split()).format(**vars(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self),), vars(self)


@dataclass(frozen=True)
class RuleProblem:
    """One thing that is wrong in a rule file.

    Attributes:
        line: Line of the key, from 1.
        column: Column of the key, from 1.
        key: Where it stands, such as `rules.glioma.series.flair.plane`; '' for the file as a whole.
        message: What is wrong and what to do about it.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.key + ': ' if self.key else ''}{self.message}"


@dataclass(eq=False, kw_only=True)
class RulesInvalid(PipelineError):
    """The rules are wrong.

    Attributes:
        path: The rule file.
        problems: Everything that is wrong with it, in the order of the file.
    """

    path: Path
    problems: tuple[RuleProblem, ...]

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(eq=False, kw_only=True)
class UnknownPipeline(PipelineError):
    """There is no pipeline {name}; there are: {known}.

    Attributes:
        name: What was asked for.
        known: Names of the pipelines that there are.
    """

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"There is no pipeline {self.name!r}; there are: {', '.join(self.known)}."


@dataclass(eq=False, kw_only=True)
class ModelMissing(PipelineError):
    """There is no model package {name}.

    Attributes:
        name: What was asked for.
        folders: Where it was looked for.
    """

    name: str
    folders: tuple[str, ...]

    def __str__(self) -> str:
        return f"There is no model package {self.name!r} in {', '.join(self.folders)}."


@dataclass(eq=False, kw_only=True)
class BrainNotFound(PipelineError):
    """the brain was not found ({reason})

    Attributes:
        reason: What was looked at, and what came out.
    """  # noqa: D415 - it goes on where a note's sentence has begun

    reason: str


@dataclass(eq=False, kw_only=True)
class ModelsDiffer(PipelineError):
    """The model packages on the worker are not those that the job was made for.

    Attributes:
        pipeline: What was to run.
        folders: Where the worker has its packages.
    """

    pipeline: str
    folders: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"The model packages for {self.pipeline} in {', '.join(self.folders)} are not those that the job was made "
            "for; were they replaced, or does this machine have other ones?"
        )
