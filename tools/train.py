"""`python tools/train.py -c CONFIG [-o key.path=value ...]`: same as `ppzoo train`."""

from ppzoo.cli import tool

if __name__ == "__main__":
    tool("train")
