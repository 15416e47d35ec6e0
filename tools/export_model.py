"""`python tools/export_model.py -c CONFIG [-o key.path=value ...]`: same as `ppzoo export`."""

from ppzoo.cli import tool

if __name__ == "__main__":
    tool("export")
