"""`python -m redteam`: run attacks, write what they got, fail where a target is missed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from redteam import report
from redteam.attacks import ATTACKS
from redteam.setting import SEEDS_REPORTED, SIZES, settings

if TYPE_CHECKING:
    from redteam.results import Result


@click.group(invoke_without_command=True)
@click.option("--only", default="", help="Ids of attacks, such as T1,R3; all by default.")
@click.option("--size", default="100k", type=click.Choice(sorted(SIZES)), show_default=True)
@click.option("--seeds", default=",".join(map(str, SEEDS_REPORTED)), show_default=True)
@click.option("--quick", is_flag=True, help="3k records, one setting; writes nothing.")
@click.option("--write/--no-write", default=True, help="Rewrite the page, the plots, the JSON.")
@click.pass_context
def main(
    context: click.Context, *, only: str, size: str, seeds: str, quick: bool, write: bool
) -> None:
    """Attack what a linker holds and, beside it, classical encodings."""
    if context.invoked_subcommand is not None:
        return
    wanted = {each.strip() for each in only.split(",") if each.strip()}
    found: list[Result] = []
    begun = set()
    for setting in settings(size, tuple(int(seed) for seed in seeds.split(",")), quick=quick):
        for attack in ATTACKS:
            if wanted and not wanted & set(attack.ids):
                continue
            if attack.once and (attack.module, setting.seed) in begun:
                continue
            begun.add((attack.module, setting.seed))
            started = time.monotonic()
            results = attack.run(setting)
            click.echo(
                f"-- {attack.module}, {setting.label}, seed {setting.seed}: "
                f"{time.monotonic() - started:.0f} s"
            )
            for each in results:
                click.echo(report.line(each))
            found += results
    if write and not quick:
        report.write(found)
    sys.exit(0 if all(each.passed for each in found) else 1)


@main.command("export-graph")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--people", default=1_000, show_default=True)
@click.option("--seed", default=SEEDS_REPORTED[0], show_default=True)
def export_graph(out: Path, people: int, seed: int) -> None:
    """Write the similarity graph that a linker can see, with full overlap, as an edge list."""
    from redteam.attacks.graphs import export

    nodes, edges = export(out, people, seed)
    click.echo(f"{out}: {nodes} nodes, {edges} edges")


if __name__ == "__main__":
    main()
