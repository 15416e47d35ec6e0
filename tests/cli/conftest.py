"""Photos in class folders, and a run that is trained on them."""

import pytest
from helpers.pictures import COLORS, paint
from helpers.quick import QUICK

from ppzoo.cli import main


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with three class folders of ten images each."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(10):
            paint(folder / name / f"{number}.png", color, seed=number)
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    monkeypatch.setenv("PPZOO_NATIVE", "off")


@pytest.fixture(scope="session")
def run_folder(photos, tmp_path_factory):
    """The folder of a run with the weights best_model and latest."""
    output = tmp_path_factory.mktemp("run") / "output"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPZOO_OFFLINE", "1")
        patch.setenv("PPZOO_NATIVE", "off")
        command = ["train", "--arch", "LeNet", "--data", str(photos), *QUICK, "-o", f"Global.output_dir={output}"]
        assert main(command) == 0
    return output / "LeNet"
