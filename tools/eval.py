"""`python tools/eval.py -c CONFIG [-o key.path=value ...]`: same as `ppzoo eval`."""

from ppzoo.cli import tool

if __name__ == "__main__":
    tool("eval")
