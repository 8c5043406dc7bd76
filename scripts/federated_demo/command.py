"""``qiaolian federated demo``: several parties on one machine, their joint models and a report."""

from __future__ import annotations

from pathlib import Path

from scripts.demo_steps.folder import own_folder, terminated_like_interrupted


def run(out: Path) -> int:
    """Run every step; 0 only when every promise held."""
    from scripts.federated_demo.run import PARTS, FederatedDemo

    out = out.resolve()
    with own_folder(out, PARTS), terminated_like_interrupted():
        broken = FederatedDemo(out).run()
    for sentence in broken:
        print(f"NOT HELD: {sentence}")
    print(
        f"\n{'Every step held.' if not broken else 'Some promises did not hold.'} "
        f"Report: {out / 'report.html'}"
    )
    return 1 if broken else 0
