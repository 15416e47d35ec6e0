"""Options of the command line."""

QUICK = ("-o", "Global.epochs=1", "-o", "Global.use_visualdl=false", "--device", "cpu")
"""Options of a quick training."""


def override_options(*overrides: str) -> list[str]:
    """Return the options -o for overrides such as "Global.epochs=1"."""
    return [part for text in overrides for part in ("-o", text)]
