"""Checks of the installation: what `ppzoo doctor` prints."""

from __future__ import annotations

from ppzoo.doctor.check import NOTE, OK, PROBLEM, Check
from ppzoo.doctor.environment import REQUIRED, check_engines, check_machine, check_packages
from ppzoo.doctor.paddlepaddle import check_paddle

__all__ = ["NOTE", "OK", "PROBLEM", "REQUIRED", "Check", "format_checks", "run_checks"]


def run_checks() -> list[Check]:
    """Run all checks."""
    return [*check_packages(), *check_machine(), *check_paddle(), *check_engines()]


def format_checks(checks: list[Check]) -> str:
    """Return the checks as aligned lines, followed by each problem and note with its fix, and a verdict."""
    width = max(len(check.name) for check in checks)
    lines = [f"{check.name.ljust(width)}  {check.value}" for check in checks]
    for check in checks:
        if check.status != OK:
            lines.append(f"\n{check.status}: {check.name}: {check.value}")
            lines += [f"  fix: {check.fix}"] if check.fix else []
    count = sum(check.status == PROBLEM for check in checks)
    lines.append(f"\n{count} problem{'s' if count > 1 else ''} found" if count else "\nno problems found")
    return "\n".join(lines)
