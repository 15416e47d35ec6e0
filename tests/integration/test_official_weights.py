"""Official weights from a server: downloaded once, verified, loaded by name, listed and removed."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import ppzoo
from ppzoo.cli import main
from ppzoo.errors import WeightsError
from ppzoo.weights import save_pdparams

NAME = "MobileNetV2_x0_25"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local mirror with the weights of one architecture; yields the network with these weights."""
    network = ppzoo.create_model(NAME)
    folder = tmp_path / "www"
    save_pdparams(network.state_dict(), folder / "dygraph" / f"{NAME}_pretrained.pdparams")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    monkeypatch.setenv("PPZOO_MIRROR", f"http://127.0.0.1:{service.server_port}")
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    yield network
    service.shutdown()


def test_pretrained_weights_are_loaded_by_name(server, monkeypatch):
    network = ppzoo.create_model(NAME, pretrained=True)
    for key, value in server.state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), value.numpy())
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    other = ppzoo.create_model(NAME, pretrained=True, class_num=7)
    stem = "conv1._conv.weight"
    np.testing.assert_array_equal(other.state_dict()[stem].numpy(), server.state_dict()[stem].numpy())
    assert other.state_dict()["out.weight"].shape == [1280, 7]


def test_cache_is_listed_verified_and_emptied(server, tmp_path, capsys):
    assert main(["weights", "get", NAME]) == 0
    file = capsys.readouterr().out.strip()
    assert file.startswith(str(tmp_path / "home"))
    assert main(["weights", "list", NAME]) == 0
    assert file in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert f"{NAME}: SHA-256 as recorded" in capsys.readouterr().out

    with open(file, "r+b") as damaged:
        damaged.seek(5000)
        damaged.write(b"xx")
    assert main(["weights", "verify"]) == 2
    with pytest.raises(WeightsError):
        ppzoo.create_model(NAME, pretrained=True)
    assert main(["weights", "rm", NAME]) == 0
    assert main(["weights", "get", NAME]) == 0
    assert main(["weights", "verify"]) == 0


def test_missing_official_weights_are_reported(server, capsys):
    assert main(["weights", "get", "MobileNetV2_x025"]) == 2
    assert "did you mean 'MobileNetV2_x0_25'?" in capsys.readouterr().err
    assert main(["weights", "get", "ResNet18"]) == 2
    assert "404" in capsys.readouterr().err


def test_error_names_the_architecture_of_the_weights(server, tmp_path):
    wrong = tmp_path / "www" / "dygraph" / f"{NAME}_pretrained.pdparams"
    with pytest.raises(WeightsError, match="the weights look like those of MobileNetV2_x0_25"):
        ppzoo.create_model("MobileNetV2_x0_5", pretrained=str(wrong))
