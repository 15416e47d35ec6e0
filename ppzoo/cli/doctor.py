"""The command `doctor`."""

from __future__ import annotations

import argparse
import json

from ppzoo.cli.arguments import Commands, add_command
from ppzoo.errors import printable


def add_commands(commands: Commands) -> None:
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        "check the installation: report versions and hardware, and for each problem the command that fixes it",
        needs_paddle=False,
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _doctor(options: argparse.Namespace) -> int:
    from ppzoo import doctor

    checks = doctor.run_checks()
    is_fine = not any(check.status == doctor.PROBLEM for check in checks)
    if options.json:
        print(json.dumps({"ok": is_fine, "checks": [check._asdict() for check in checks]}, indent=2))
    else:
        print(printable(doctor.format_checks(checks)))
    return 0 if is_fine else 1
