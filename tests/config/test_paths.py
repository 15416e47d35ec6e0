"""`~` is expanded to the home folder in options that are paths, and in no other option."""

import copy
from typing import get_args

import pytest
import yaml

from ppzoo import builders, config
from ppzoo.builders.component_factory import components
from ppzoo.cli import main
from ppzoo.config import expand_paths

PATHS = (
    ("Global", "output_dir"),
    ("Global", "checkpoints"),
    ("Global", "pretrained_model"),
    ("Global", "save_inference_dir"),
    ("Arch", "pretrained"),
    ("DataLoader", "Train", "dataset", "image_root"),
    ("DataLoader", "Eval", "dataset", "image_root"),
    ("DataLoader", "Eval", "dataset", "cls_label_path"),
    ("Infer", "infer_imgs"),
    ("Infer", "PostProcess", "class_id_map_file"),
)


def configuration(*, train="ImageFolder", evaluation="ImageNetDataset"):
    split = {"sampler": {"batch_size": 1}}
    return {
        "Global": {"seed": 1},
        "Arch": {"name": "LeNet"},
        "DataLoader": {
            "Train": {"dataset": {"name": train}, **copy.deepcopy(split)},
            "Eval": {"dataset": {"name": evaluation}, **copy.deepcopy(split)},
        },
        "Infer": {"PostProcess": {"name": "Topk", "label_list": ["~/cat", "dog"]}},
    }


def put(section, path, value):
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value


def get(section, path):
    for key in path:
        section = section[key]
    return section


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@pytest.mark.parametrize(
    ("text", "expanded"),
    [("~/a b/~x", "{home}/a b/~x"), ("~", "{home}"), ("./~/x", "./~/x"), ("x~", "x~"), ("~nosuchuser/x",) * 2],
)
def test_home_is_expanded_in_every_path(home, path, text, expanded):
    given = configuration()
    put(given, path, text)
    before = copy.deepcopy(given)
    received = expand_paths(given, components())
    assert get(received, path) == expanded.format(home=home)
    assert given == before
    assert received["Infer"]["PostProcess"]["label_list"] == ["~/cat", "dog"]


def test_home_is_expanded_in_lists_and_in_networks_of_a_distillation(home):
    given = configuration()
    given["Infer"]["infer_imgs"] = ["~/a.jpg", "b.jpg"]
    given["Arch"] = {
        "name": "DistillationModel",
        "models": [{"Teacher": {"name": "LeNet", "pretrained": "~/t"}}, {"Student": {"name": "LeNet"}}],
        "pretrained_list": ["~/u", None],
    }
    received = expand_paths(given, components())
    assert received["Infer"]["infer_imgs"] == [f"{home}/a.jpg", "b.jpg"]
    assert received["Arch"]["models"][0]["Teacher"]["pretrained"] == f"{home}/t"
    assert received["Arch"]["pretrained_list"] == [f"{home}/u", None]


def test_dataset_options_for_files_are_typed_as_paths():
    named = {
        (name, key): option.hint
        for name, component in components()["dataset"].items()
        for key, option in component.options.items()
        if key.endswith(("root", "path", "file"))
    }
    assert len(named) >= 8
    assert all("path" in str(get_args(hint)) for hint in named.values()), named


def test_files_in_the_home_folder_are_found(home, capsys):
    given = configuration(train="FashionMNIST", evaluation="FashionMNIST")
    (home / "base.yaml").write_text(yaml.safe_dump(given))
    (home / "c.yaml").write_text("_BASE_: ~/base.yaml\nGlobal: {pretrained_model: ~/none}\n")
    assert config.load(home / "c.yaml")["Global"]["seed"] == 1
    assert main(["eval", "-c", "~/c.yaml"]) == 2
    assert f"got '{home}/none', which does not exist" in capsys.readouterr().err
    with pytest.raises(Exception, match=f"{home}/none', which does not exist"):
        builders.create_model("LeNet", pretrained="~/none")
