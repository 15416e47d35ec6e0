"""Files, their bases and the command line's overrides are merged into one mapping."""

import textwrap

import pytest

from ppzoo.config import apply_overrides, load
from ppzoo.config.component_types import Component, Option
from ppzoo.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def path(write):
    return write(
        "a.yaml",
        """
        Global: {epochs: 10, output_dir: ./output}
        Loss:
          Train:
            - CELoss: {weight: 1.0}
            - Other:
        """,
    )


def refusal(path, *overrides):
    with pytest.raises(ConfigError) as error:
        load(path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_mappings_of_bases_merge_and_lists_replace(write):
    write("base/one.yaml", "A: {x: 1, y: {p: 1, q: 2}, l: [1, 2, 3]}\nB: 1")
    write("base/two.yaml", "A: {x: 2}\nC: {k: 1}")
    path = write("top.yaml", "_BASE_: [base/one.yaml, base/two.yaml]\nA: {y: {q: 3}, l: [9]}\nC: null")
    assert load(path) == {"A": {"x": 2, "y": {"p": 1, "q": 3}, "l": [9]}, "B": 1, "C": None}


def test_a_base_is_relative_to_the_file_that_names_it(write):
    write("base/low.yaml", "A: {x: 1}")
    write("base/mid.yaml", "_BASE_: low.yaml\nA: {y: 2}")
    assert load(write("top.yaml", "_BASE_: base/mid.yaml")) == {"A": {"x": 1, "y": 2}}


def test_circular_bases_are_reported_with_the_chain(write, tmp_path):
    write("b.yaml", "_BASE_: a.yaml")
    path = write("a.yaml", "_BASE_: b.yaml")
    chain = " -> ".join(str(tmp_path / name) for name in ("a.yaml", "b.yaml", "a.yaml"))
    assert refusal(path) == f"_BASE_: expected no cycle, got {chain}; remove one of these references"


def test_missing_base_is_reported_with_the_file_that_names_it_and_the_nearest_file(write, tmp_path):
    write("mobilenet.yaml", "A: 1")
    path = write("top.yaml", "_BASE_: mobilnet.yaml")
    expected = (
        f"no configuration file {tmp_path}/mobilnet.yaml, the _BASE_ of {path};"
        f" did you mean '{tmp_path}/mobilenet.yaml'?"
    )
    assert refusal(path) == expected


def test_base_reached_on_many_paths_is_read_once(write):
    write("n0.yaml", "A: 1")
    for number in range(1, 15):
        base = f"n{number - 1}.yaml"
        path = write(f"n{number}.yaml", f"_BASE_: [{', '.join([base] * 20)}]")
    assert load(path) == {"A": 1}


def test_too_long_chain_of_bases_is_refused(write):
    for number in range(30):
        write(f"n{number}.yaml", f"_BASE_: n{number + 1}.yaml")
    assert "expected at most 16 files in a chain of _BASE_" in refusal(write("top.yaml", "_BASE_: n0.yaml"))


@pytest.mark.parametrize("base", ["3", "{a: b}", "[a.yaml, 3]", "['']"])
def test_a_base_is_a_path_or_paths(write, base):
    assert "expected _BASE_ to be a path or a list of paths" in refusal(write("top.yaml", f"_BASE_: {base}"))


def test_missing_file_is_reported_with_the_nearest_name(path, tmp_path):
    assert refusal(tmp_path / "aa.yaml") == f"no configuration file {tmp_path}/aa.yaml; did you mean '{path}'?"
    assert refusal(tmp_path / "no/a.yaml").endswith(f"; the folder '{tmp_path}/no' does not exist")


def test_folders_empty_files_and_lists_are_refused(write, tmp_path):
    assert refusal(tmp_path) == (
        f"expected a YAML file or the name of a configuration, got the folder {tmp_path};"
        f" `ppzoo train --arch NAME --data {tmp_path}` trains on images in a folder"
    )
    assert refusal(write("e.yaml", "")).endswith("expected a mapping of sections such as Global and Arch, got nothing")
    assert "got the list [1, 2]" in refusal(write("l.yaml", "[1, 2]"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("false", False),
        ("1e-5", 1e-5),
        ("[1, 5]", [1, 5]),
        ("{a: 1}", {"a": 1}),
        ("a=b=c", "a=b=c"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("'3'", "3"),
        ("", None),
    ],
)
def test_the_value_of_an_override_is_yaml(path, text, value):
    assert load(path, [f"Global.x={text}"])["Global"]["x"] == value


def test_overrides_change_lists_and_create_missing_mappings(path):
    overrides = [
        "Loss.Train.0.CELoss.epsilon=0.1",
        "Loss.Train.1.Other.k=2",
        "AMP.use_amp=false",
        "Loss.Train.1.Other.k=3",
    ]
    config = load(path, overrides)
    assert config["Loss"]["Train"] == [{"CELoss": {"weight": 1.0, "epsilon": 0.1}}, {"Other": {"k": 3}}]
    assert config["AMP"] == {"use_amp": False}


def test_overrides_are_applied_after_bases(write):
    write("low.yaml", "A: {x: 1}")
    assert load(write("top.yaml", "_BASE_: low.yaml\nA: {x: 2}"), ["A.x=3"]) == {"A": {"x": 3}}


@pytest.mark.parametrize("part", ["2", "-1", "00", "CELoss"])
def test_an_index_that_is_not_in_the_list_is_refused(path, part):
    line = f"-o Loss.Train.{part}: Loss.Train is a list; expected an index from 0 to 1, got {part!r}"
    assert refusal(path, f"Loss.Train.{part}=1") == line
    assert refusal(path, f"Loss.Train.{part}.x.y=1") == line


@pytest.mark.parametrize("text", ["Global.epochs", "=3", ".a=3", "a..b=3", "a.=3"])
def test_an_override_without_path_or_value_is_refused(path, text):
    assert refusal(path, text) == f"-o: expected KEY.PATH=VALUE, such as Global.epochs=10, got {text!r}"


def test_an_override_below_a_value_is_refused(path):
    line = "-o Global.epochs.x: expected Global.epochs to be a mapping, got 10"
    assert refusal(path, "Global.epochs.x=1") == line
    assert refusal(path, "Global.epochs.x.y=1") == line


def test_override_that_is_not_yaml_is_reported_with_quotes(path):
    line = refusal(path, "Global.image_shape=*.jpg")
    assert line.startswith("-o Global.image_shape, line 1: ")
    assert line.endswith("""write text that is not YAML in quotes within quotes: -o 'Global.image_shape="..."'""")


TYPED = [
    "photos #2/val",
    "photos # 2",
    "#1",
    "a: b",
    "a: ",
    "{a",
    "[1]/x",
    "*.jpg",
    "&a b",
    "!x y",
    "| a",
    "@home",
    "%TAG",
    "a=b=c",
    "2024",
    "0123",
    "0x10",
    "1_000",
    "1e-3",
    "5.0",
    "yes",
    "off",
    "True",
    "~",
    "2024-01-31",
    "12:30",
    ".inf",
    "[1, 2]",
    "{a: 1}",
    "- a",
    "grün \U0001f600",
    " two  spaces ",
    'a "b" c',
    '"a" b',
    "C:\\photos\\new",
    "${HOME}/x",
]


@pytest.mark.parametrize("text", TYPED)
def test_text_options_keep_the_text_of_overrides(path, components, text):
    keys = ["Global.output_dir", "Arch.name", "DataLoader.Eval.dataset.image_root"]
    overrides = [f"DataLoader.Eval.dataset.image_root={text}", "DataLoader.Eval.dataset.name=ImageNetDataset"]
    config = load(path, [f"Global.output_dir={text}", f"Arch.name={text}", *overrides], components)
    found = [
        config["Global"]["output_dir"],
        config["Arch"]["name"],
        config["DataLoader"]["Eval"]["dataset"]["image_root"],
    ]
    assert dict(zip(keys, found, strict=True)) == dict.fromkeys(keys, text)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("Global.output_dir", "'a #1'", "a #1"),
        ("Global.output_dir", '"a\\tb"', "a\tb"),
        ("Global.output_dir", "'it''s'", "it's"),
        ("Global.output_dir", "", None),
        ("Global.output_dir", "null", None),
        ("Global.output_dir", " NULL", None),
        ("Global.output_dir", "'null'", "null"),
        ("Global.output_dir", "~", "~"),
        ("Global.checkpoints", "null", None),
        ("Global.checkpoints", "~", None),
        ("Global.checkpoints", "", None),
        ("Global.checkpoints", "'null'", "null"),
        ("Global.checkpoints", "#1/latest", "#1/latest"),
        ("Global.checkpoints", "null #1", "null #1"),
        ("Arch.pretrained", "True #1", "True #1"),
        ("Infer.infer_imgs", "[1] #2", "[1] #2"),
        ("Infer.infer_imgs", "- a #2", "- a #2"),
        ("Global.checkpoints", "7", "7"),
        ("Global.checkpoints", "True", "True"),
        ("Global.device", "cpu", "cpu"),
        ("Global.device", " cpu", "cpu"),
        ("Global.epochs", "5", 5),
        ("Global.epochs", "5 # five", 5),
        ("Global.epochs", "05", "05"),
        ("Global.epochs", "ten #1", "ten #1"),
        ("Global.use_multilabel", "yes", True),
        ("Global.use_multilabel", "off", False),
        ("Global.image_shape", "[3, 8, 8]", [3, 8, 8]),
        ("Global.native", "off", "off"),
        ("Global.native", "no", "off"),
        ("Global.native", "False", "off"),
        ("Global.native", "True", "on"),
        ("Global.native", "auto", "auto"),
        ("Arch.pretrained", "True", True),
        ("Arch.pretrained", "no", False),
        ("Arch.pretrained", "runs/yes", "runs/yes"),
        ("Arch.scale", "1.5", 1.5),
        ("Optimizer.lr.learning_rate", "1e-3", 1e-3),
        ("Optimizer.lr.warmup_epoch", "5", 5),
        ("Infer.infer_imgs", "photo #1.jpg", "photo #1.jpg"),
        ("Infer.infer_imgs", "[a.jpg, 'b #1.jpg']", ["a.jpg", "b #1.jpg"]),
        ("Infer.PostProcess", "{name: Topk, topk: 3}", {"name": "Topk", "topk": 3}),
        ("Infer.transforms", "[{CropImage: {size: 8}}]", [{"CropImage": {"size": 8}}]),
        ("DataLoader.Eval", "null", None),
        ("Metric", "null", None),
        ("Loss.Train.0.CELoss.epsilon", "null", None),
        ("Loss.Train.0.CELoss.epsilon", "0.1", 0.1),
        ("Global.log_ranks", "0,1", "0,1"),
        ("Global.log_ranks", "'0,1'", "0,1"),
        ("Global.log_ranks", "[0, 1]", [0, 1]),
    ],
)
def test_overrides_are_read_as_yaml_of_the_expected_type(path, components, key, text, value):
    names = ["Arch.name=ResNet50", "Optimizer.name=Momentum", "Optimizer.lr.name=Cosine"]
    found = load(path, [f"{key}={text}", *names], components)
    for part in key.split("."):
        found = found[int(part) if part.isdigit() else part]
    assert (found, type(found)) == (value, type(value))


def test_later_overrides_replace_and_change_earlier_ones(path, components):
    overrides = [
        "Infer.batch_size=*",
        "Infer.batch_size=7",
        "Infer={batch_size: 2}",
        "Infer.infer_imgs=a #1",
        "Infer.batch_size=3",
    ]
    assert load(path, overrides, components)["Infer"] == {"batch_size": 3, "infer_imgs": "a #1"}
    assert load(path, ["Global.output_dir = runs"], components)["Global"]["output_dir"] == "runs"


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\udcffb", "x" * 300_000])
def test_text_with_invalid_characters_is_refused(path, text):
    assert refusal(path, f"Global.output_dir={text}").startswith("-o Global.output_dir: expected ")


@pytest.mark.parametrize(
    ("text", "value"), [("off", "off"), ("on", "on"), ("no", "off"), ("True", "on"), ("auto", "auto")]
)
def test_choices_that_yaml_reads_as_booleans(write, text, value):
    config = load(write("a.yaml", f"Global: {{native: {text}, eval_during_train: {text}}}"))
    assert config["Global"]["native"] == value
    assert config["Global"]["eval_during_train"] == {"on": True, "off": False}.get(value, text)


COMPONENTS = {
    "optimizer": {
        "Momentum": Component("Momentum", {"momentum": Option(float), "clip_norm": Option(float)}),
        "AdamW": Component("AdamW", {"beta1": Option(float), "clip_norm": Option(float)}),
    }
}
MOMENTUM = "Optimizer: {name: Momentum, momentum: 0.9, clip_norm: 1.0, momentun: 0.8}"


def optimizer_of(path, *overrides):
    return load(path, overrides, COMPONENTS)["Optimizer"]


def test_options_of_a_replaced_component_are_not_inherited(write):
    """Options that both have are inherited, and unknown keys, which the check reports."""
    write("base.yaml", MOMENTUM)
    path = write("top.yaml", "_BASE_: base.yaml\nOptimizer: {name: AdamW, beta1: 0.8}")
    assert optimizer_of(path) == {"name": "AdamW", "beta1": 0.8, "clip_norm": 1.0, "momentun": 0.8}


@pytest.mark.parametrize("name", ["Momentum", "AdamV"])
def test_options_of_the_same_or_an_unknown_component_are_inherited(write, name):
    write("base.yaml", MOMENTUM)
    assert optimizer_of(write("top.yaml", f"_BASE_: base.yaml\nOptimizer: {{name: {name}}}"))["momentum"] == 0.9


def test_options_that_are_given_with_the_other_name_stay_for_the_check(write, caplog):
    path = write("base.yaml", MOMENTUM)
    top = write("top.yaml", "_BASE_: base.yaml\nOptimizer: {name: AdamW, momentum: 0.9}")
    assert "momentum" in optimizer_of(top)
    with caplog.at_level("INFO"):
        assert "momentum" not in optimizer_of(path, "Optimizer.name=AdamW")
    assert caplog.messages == ["ignoring options of the component that -o replaces: Optimizer.momentum"]
    assert "momentum" in optimizer_of(path, "Optimizer.name=AdamW", "Optimizer.momentum=0.9")
    assert optimizer_of(path, "Optimizer={name: AdamW, momentum: 0.9}") == {"name": "AdamW", "momentum": 0.9}


SAMPLERS = {
    "sampler": {
        "Plain": Component("Plain", {"batch_size": Option(int)}),
        "Sized": Component("Sized", {"batch_size": Option(int)}, renamed={"first_bs": "batch_size"}),
    }
}


def sampler_of(path, *overrides):
    return load(path, overrides, SAMPLERS)["DataLoader"]["Train"]["sampler"]


@pytest.mark.parametrize("base", ["batch_size: 8", "first_bs: 8"])
def test_the_name_of_a_key_in_paddleclas_replaces_an_inherited_value(write, base):
    path = write("base.yaml", f"DataLoader: {{Train: {{sampler: {{name: Sized, {base}}}}}}}")
    top = write("top.yaml", "_BASE_: base.yaml\nDataLoader: {Train: {sampler: {first_bs: 4}}}")
    assert sampler_of(top) == {"name": "Sized", "batch_size": 4}
    assert sampler_of(top, "DataLoader.Train.sampler.first_bs=2") == {"name": "Sized", "batch_size": 2}
    assert sampler_of(path, "DataLoader.Train.sampler.batch_size=2") == {"name": "Sized", "batch_size": 2}


def test_both_names_of_a_key_in_one_file_stay_for_the_check(write):
    both = {"name": "Sized", "first_bs": 4, "batch_size": 8}
    path = write("a.yaml", f"DataLoader: {{Train: {{sampler: {both}}}}}")
    assert sampler_of(path) == both
    assert sampler_of(write("top.yaml", "_BASE_: a.yaml")) == both


def test_a_component_without_the_key_keeps_the_name_for_the_check(write):
    path = write("a.yaml", "DataLoader: {Train: {sampler: {name: Plain, first_bs: 4}}}")
    assert sampler_of(path) == {"name": "Plain", "first_bs": 4}


def test_keys_are_renamed_in_a_mapping_that_is_used_twice():
    sampler = {"name": "Sized", "first_bs": 4}
    given = {"DataLoader": {split: {"sampler": sampler} for split in ("Train", "Eval")}}
    renamed = {"name": "Sized", "batch_size": 4}
    found = apply_overrides(given, (), SAMPLERS)["DataLoader"]
    assert found == {"Train": {"sampler": renamed}, "Eval": {"sampler": renamed}}
    assert sampler == {"name": "Sized", "first_bs": 4}
