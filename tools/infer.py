"""`python tools/infer.py -c CONFIG [-o key.path=value ...]`: same as `ppzoo infer`."""

from ppzoo.cli import tool

if __name__ == "__main__":
    tool("infer")
