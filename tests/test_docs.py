"""The guides: links lead somewhere, files and commands that they name exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from daemon.cli import app
from daemon.commands.lazy import LazyCommand

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TRAINING = {"train", "cross-validate", "export", "evaluate", "reproduce"}
"""Commands of the extra `train`."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_that_is_named_anywhere_exists() -> None:
    named = subprocess.run(
        ["git", "grep", "-hoE", r"\bdocs/[A-Za-z/_-]+\.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert [path for path in sorted(set(named.stdout.split())) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    places = "daemon|pipelines|engines|dicomio|db|training|tests|benchmarks|deploy|models|docs"
    paths = re.findall(rf"`((?:{places})/[\w./-]+)`", text)
    targets = re.findall(r"(?:^ *|`)make ([a-z]+)\b", text, flags=re.MULTILINE)

    assert [path for path in paths if not (ROOT / path).exists() and "NAME" not in path] == []
    assert set(targets) <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def commands(text: str) -> list[str]:
    """What follows `scanward` in blocks of code and between backquotes."""
    inline = re.findall(r"`scanward ([^`\n]+)`", text)
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL))
    lines = [line for line in (*blocks.splitlines(), *text.splitlines()) if line in blocks or line.startswith("    ")]
    typed = [found for line in lines for found in re.findall(r"(?:^ *|until |; |/bin/)scanward ([a-z][^`]*)$", line)]
    return sorted({*inline, *typed})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_ours(page: Path) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        parse(typed(line), line)


def typed(line: str) -> list[str]:
    """Its words, without comments, redirections and what is piped, and with optional ones as if they were given."""
    line = re.split(r" (?:#|\||&|;|2?>)", line.partition(";")[0])[0]
    return [word for word in shlex.split(re.sub(r"[\[\]]", " ", line)) if word != "..."]


def parse(words: list[str], line: str) -> None:
    """Raises if a command or an option is none of ours; what follows them is not looked at."""
    command: Any = typer.main.get_command(app)
    while words:
        _, words, _ = command.make_parser(command.context_class(command, info_name=line)).parse_args(words)
        known = getattr(command, "commands", None)
        if not words or known is None or (words[0] in TRAINING and words[0] not in known):
            return
        assert words[0] in known, line
        found, words = known[words[0]], words[1:]
        command = found.real if isinstance(found, LazyCommand) else found
