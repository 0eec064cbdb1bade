"""The demo's telling: what tasks and sites say is quoted, not obeyed."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from ayni.client.models import SiteVerdict
from ayni.demo.story import Story, refused


def test_what_a_site_says_is_neither_markup_nor_an_order_to_the_terminal(tmp_path: Path) -> None:
    shown = io.StringIO()
    story = Story(tmp_path, Console(file=shown, force_terminal=True, width=200, color_system=None))
    said = SiteVerdict(
        site="andes", verdict="full", code="full", message="[bold]no[/bold] \x1b]0;x\x07 room"
    )
    task = SimpleNamespace(id="t1", why=lambda: SimpleNamespace(sites=[said]))
    story.show_why(cast(Any, task), "a title")
    assert "[bold]no[/bold]  ]0;x  room" in shown.getvalue()


def test_refusals_are_counted_over_all_tasks_and_only_those_by_a_policy() -> None:
    def task(*said: tuple[str, str, str]) -> Any:
        sites = [SiteVerdict(site=s, verdict=verdict, code=code) for s, verdict, code in said]
        return SimpleNamespace(why=lambda: SimpleNamespace(sites=sites))

    stays = task(("andes", "chosen", "chosen"), ("bravo", "ineligible", "residency"))
    long = task(("andes", "possible", "later"), ("bravo", "ineligible", "walltime"))
    quiet = task(("andes", "ineligible", "silent"), ("bravo", "ineligible", "refused"))
    assert refused([stays, long, long, quiet]) == {"bravo": 3}
