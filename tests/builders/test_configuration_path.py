"""Each builder module receives the configuration once, so that classes, data and network are not resolved twice."""

import sys
from collections import Counter
from pathlib import Path

from helpers.small_runs import paint_class_folders, small_config

from ppzoo import builders

FOLDER = str(Path(builders.__file__).parent)


def entered_modules(run):
    """Return how often functions of each builder module received a part of the configuration from another module."""
    entered = Counter()

    def record(frame, event, _):
        code, caller = frame.f_code, frame.f_back
        if event != "call" or not code.co_filename.startswith(FOLDER) or caller.f_code.co_filename == code.co_filename:
            return
        arguments = [frame.f_locals[name] for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        if any(type(value).__module__.startswith("ppzoo.config") for value in arguments):
            source = Path(caller.f_code.co_filename).stem
            entered[source, Path(code.co_filename).stem] += 1

    sys.setprofile(record)
    try:
        run()
    finally:
        sys.setprofile(None)
    return entered


def test_each_module_receives_the_configuration_once(tmp_path):
    paint_class_folders(tmp_path / "images")
    config = builders.read_config(small_config(tmp_path, "LeNet"), ["Global.eval_during_train=false"], "train")
    entered = entered_modules(lambda: builders.build_trainer(config))
    # The model card describes the configuration that was trained.
    sources = {
        name: {
            source: count for (source, module), count in entered.items() if module == name and source != "model_card"
        }
        for name in ("class_names", "data_loading", "models")
    }
    assert sources == {name: {"training": 1} for name in ("class_names", "data_loading", "models")}
