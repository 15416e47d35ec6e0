"""`python -m ppzoo` is the same as the command `ppzoo`."""

from ppzoo.cli import console

console()
