"""A trained network of a run or an export that predicts many images, in batches that worker processes prepare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ppzoo import data, deploy
from ppzoo.builders.class_names import add_classes_of_run
from ppzoo.builders.component_factory import build_postprocess, class_count
from ppzoo.builders.inference import InferenceNetwork, require_equal_shapes
from ppzoo.config import Config
from ppzoo.errors import ConfigError
from ppzoo.finite import require_finite

Views = list[np.ndarray]
Prediction = dict[str, Any]
TOPK = 5  # classes per prediction of an export, as in `Predictor.predict`


@dataclass(frozen=True)
class Preparation:
    """Turns the bytes of an image file, or the pixels of a frame, into one or more inputs of the network.

    Attributes:
        views: the transforms of each view of an image: several sizes and crops with test-time augmentation (`predict`
            of `BatchModel` adds the mirror images), a single view without it.
        takes_pixels: whether the engine normalizes the pixels, so that the last transform is not applied.
    """

    views: Sequence[data.Compose]
    takes_pixels: bool = False

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator) -> Views:
        """Return one array per view.

        Raises:
            DataError: `image` is damaged or not an image.
        """
        if self.takes_pixels:
            return [view.before_last(image, random) for view in self.views]
        return [view(image, random) for view in self.views]


@dataclass(frozen=True)
class BatchModel:
    """A trained network for many images.

    Attributes:
        prepare: prepares an image, in worker processes.
        predict: predicts a batch of images. Its arguments are one stack of images per view, and the names of the images
            for error messages.
        topk: number of classes per prediction; 0 for several labels per image, where it differs between images.
        class_names: the names of all classes; [] for an export without names. In a run, a class without a name is named
            by its index.
        identity: a SHA-256 of the weights (or the files of the export), the transforms, the postprocessing, `TTA`, the
            class names and `top`.
        title: the weights, architecture or export folder that the network is from, for messages.
    """

    prepare: Preparation
    predict: Callable[[Views, list[str]], list[Prediction]]
    batch_size: int
    topk: int
    class_names: list[str]
    identity: str
    title: str


class ExportPredictor(Protocol):
    """The attributes of `ppzoo.Predictor` that predictions in batches use."""

    exported: deploy.ExportedModel
    preprocess: data.Compose
    engine: deploy.Engine
    postprocess: tuple[str, dict[str, Any]]
    batch_size: int


def batch_model_of_config(config: Config, image_count: int, *, top: int | None = None) -> BatchModel:
    """Load the network of a configuration.

    Args:
        image_count: number of images; on the CPU, the network is exported for many of them, since exports are faster.
        top: number of classes per prediction; by default that of `Infer.PostProcess`.
    """
    config = add_classes_of_run(config)
    network, count = InferenceNetwork(config, image_count), class_count(config.Arch)
    identity, labels = hashlib.sha256(_digest_weights(network.network)), network.labels
    network.postprocess = _with_top(network.postprocess, top)

    def predict(stacks: Views, names: list[str]) -> list[Prediction]:
        network.check([stack[0] for stack in stacks], names)
        return network.predict(stacks, names)

    sections = config.to_dict()
    settings = [sections["Infer"].get(key) for key in ("transforms", "PostProcess")]
    identity.update(json.dumps([settings, sections.get("TTA"), sorted(labels.items()), top], default=str).encode())
    return BatchModel(
        prepare=Preparation(network.preprocess),
        predict=predict,
        batch_size=config.Infer.batch_size,
        topk=min(_topk_of(network.postprocess), count),
        class_names=[labels.get(index, str(index)) for index in range(count)],
        identity=identity.hexdigest(),
        title=str(config.Global.pretrained_model or config.Arch.name),
    )


def batch_model_of_export(predictor: ExportPredictor, *, top: int | None = None) -> BatchModel:
    """Return the network of an export, as opened by `ppzoo.Predictor`.

    Args:
        top: number of classes per prediction; by default `TOPK` with the postprocessing `Topk`.
    """
    exported, (name, options) = predictor.exported, predictor.postprocess
    names = exported.labels
    section = {**options, "name": name, **({"topk": TOPK} if name == deploy.Topk.__name__ else {})}
    postprocess = _with_top(build_postprocess(section, dict(enumerate(names))), top)
    engine = predictor.engine
    shapes: list[tuple[int, ...]] | None = None

    def predict(stacks: Views, images: list[str]) -> list[Prediction]:
        nonlocal shapes
        (stack,) = stacks
        shapes = require_equal_shapes(shapes, [stack[0]])
        probabilities = engine(stack)
        deploy.require_label_count(name, len(names), probabilities.shape[1])
        require_finite(probabilities, images.__getitem__)
        return postprocess(probabilities)

    settings = [exported.settings.get(key) for key in ("PreProcess", "PostProcess")]
    content = json.dumps([exported.identity, settings, top], default=str).encode()
    return BatchModel(
        prepare=Preparation([predictor.preprocess], engine.takes_pixels),
        predict=predict,
        batch_size=predictor.batch_size,
        topk=min(_topk_of(postprocess), len(names) or _topk_of(postprocess)),
        class_names=names,
        identity=hashlib.sha256(content).hexdigest(),
        title=str(exported.folder),
    )


def _inner(postprocess: Any) -> Any:
    """Return the postprocessing that a `DistillationPostProcess` applies, or else `postprocess`."""
    return getattr(postprocess, "postprocess", postprocess)


def _topk_of(postprocess: Any) -> int:
    inner = _inner(postprocess)
    return 0 if getattr(inner, "label_kind", "single") == "multi" else getattr(inner, "topk", 1)


def _with_top(postprocess: Any, top: int | None) -> Any:
    """Return a postprocessing step with `top` classes per prediction; the given one if `top` is None.

    Raises:
        ConfigError: `top` is given, and the postprocessing is not `Topk`.
    """
    if top is None:
        return postprocess
    inner = _inner(postprocess)
    if not isinstance(inner, deploy.Topk):
        raise ConfigError(f"--top: expected a network with the postprocessing Topk, got {type(inner).__name__}")
    return deploy.Topk(topk=top, labels=inner.labels)


def _digest_weights(network: Any) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.numpy()
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.digest()
