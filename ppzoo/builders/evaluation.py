"""Evaluate networks, during training or afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

import numpy as np
import paddle

from ppzoo import data, deploy, engine, losses, metrics
from ppzoo.builders.class_checks import log_data
from ppzoo.builders.class_names import add_classes_of_run, find_evaluation_names
from ppzoo.builders.class_weights import balance_as_trained
from ppzoo.builders.component_factory import build_loss, build_metrics, class_count
from ppzoo.builders.data_loading import build_loader, read_first_batch, verify_images
from ppzoo.builders.datasets import EVAL_DATA
from ppzoo.builders.inference import load_inference_network, load_trained_network
from ppzoo.builders.models import networks_in_losses, try_forward
from ppzoo.builders.tta_views import enabled_tta, evaluate_views
from ppzoo.config import Config, DistillationConfig, SplitConfig
from ppzoo.data.loader import Batch, Loader
from ppzoo.errors import ConfigError, count_text, errors_with_key
from ppzoo.layers import Classifier, deployed_network
from ppzoo.layers.classifier import HeadInput
from ppzoo.models import DistillationModel
from ppzoo.progress import Progress

logger = logging.getLogger("ppzoo")


class Evaluation(NamedTuple):
    """A function that evaluates a network, the name of its main metric, and whether a higher value is better.

    Attributes:
        run: returns the metrics; its arguments are observers that receive each batch and the network's output for it.
        main: "loss" without metrics.
        loader: reads the evaluated samples.
    """

    run: Callable[..., dict[str, float]]
    main: str
    higher_is_better: bool
    loader: Loader

    @property
    def samples(self) -> data.Samples:
        """The evaluated samples."""
        return self.loader.samples


class RunEvaluation(NamedTuple):
    """The evaluation of trained weights; `config` has the names of their classes, if these are known.

    Attributes:
        head_input: receives the features of each batch; None unless they were requested.
    """

    config: Config
    network: Any
    evaluation: Evaluation
    processes: engine.ProcessGroup
    head_input: HeadInput | None

    @property
    def deployed_layers(self) -> Classifier:
        """The deployed network itself, not the wrapper that runs its export (`deploy.accelerate_eval`)."""
        return deploy.original_network(deployed_network(self.network))

    def run(self, *observers: engine.EvaluationObserver) -> dict[str, float]:
        """Return the metrics; with test-time augmentation, also a second set of metrics whose names end in `_tta`.

        Args:
            observers: receive each batch and the network's output for it, without test-time augmentation.
        """
        results = self.evaluation.run(*observers)
        augmentation = enabled_tta(self.config)
        if augmentation:
            split = evaluation_data(self.config)
            with_views = evaluate_views(self.config, split, self.network, augmentation, self.processes)
            results |= {f"{name}_tta": value for name, value in with_views.items()}
        return results


def evaluate(config: Config, processes: engine.ProcessGroup = engine.SINGLE_PROCESS) -> dict[str, float]:
    """Return the metrics of the trained network on the data of `DataLoader.Eval`, which is split among `processes`.

    With test-time augmentation, a second set of metrics is added, whose names end in `_tta`.
    """
    return build_run_evaluation(config, processes).run()


def build_run_evaluation(
    config: Config, processes: engine.ProcessGroup = engine.SINGLE_PROCESS, *, features: bool = False
) -> RunEvaluation:
    """Load the trained network and build its evaluation on the data of `DataLoader.Eval`.

    Args:
        features: compute the features of the deployed network, too.
    """
    config, split = balance_as_trained(add_classes_of_run(config)), evaluation_data(config)
    config = config.with_class_names(find_evaluation_names(config, split.dataset))
    network = _load_evaluated_network(config)
    head_input = deploy.receive_features(deployed_network(network)) if features else None
    return RunEvaluation(config, network, build_evaluation(config, network, processes), processes, head_input)


def build_evaluation(
    config: Config,
    network: Classifier,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    *,
    verify: bool = False,
    recall: metrics.ClassRecall | None = None,
    observers: Sequence[engine.EvaluationObserver] = (),
) -> Evaluation:
    """Build the evaluation of `network` on the data of `DataLoader.Eval`, and try it on a few images.

    Args:
        verify: also check that the images can be read, see `verify_images`.
        recall: counts the recall of each class.
        observers: receive each batch and the network's output for it.
    """
    split, names = evaluation_data(config), find_evaluation_names(config, evaluation_data(config).dataset)
    if not config.Loss.Eval:
        raise ConfigError("Loss.Eval: expected a list of losses, got nothing; required to evaluate")
    loader = build_loader(
        split,
        class_num=class_count(config.Arch),
        seed=0,
        training=False,
        processes=processes,
        classes=names,
    )
    images = loader.samples.dataset
    if images.classes and not names and not getattr(images, "is_numbered", False):
        logger.info("%s: class names of the training data are unknown; numbering classes in sorted order", EVAL_DATA)
    log_data(EVAL_DATA, images, class_count(config.Arch))
    loss = build_loss(config.Loss.Eval, network=config.Arch.deployed_name)
    metric_list = build_metrics(config.Metric.Eval or (), network=config.Arch.deployed_name)
    if recall is not None and metric_list.metrics:
        metric_list.metrics.append(recall)
    first = try_batch(config, "Eval", network, loader, loss, metric_list)
    require_weighted_classes("Eval", loss, images)
    deploy.export_if_worthwhile(network, len(loader.samples), first)
    if verify:
        verify_images(loader, processes)

    def run(*more: engine.EvaluationObserver) -> dict[str, float]:
        with Progress(len(images) // processes.size, "evaluating") as progress, closing(loader.epoch(0)) as epoch:
            batches = progress.track(epoch, count_images)
            results = engine.evaluate(
                network, batches, loss, metric_list, processes, images.describe, [*observers, *more]
            )
        loader.record_failures(processes.all_gather_lists(list(loader.bad.items())))
        if loader.bad:
            logger.warning("evaluation: skipped %s that could not be read", count_text(len(loader.bad), "image"))
        return results

    higher_is_better = metric_list.higher_is_better if metric_list.main else False
    return Evaluation(run, metric_list.main or "loss", higher_is_better, loader)


def count_images(batch: Batch | None) -> int:
    return 0 if batch is None else len(batch.labels)


def evaluation_data(config: Config) -> SplitConfig:
    """Return the section `DataLoader.Eval`.

    Raises:
        ConfigError: it is missing.
    """
    if config.DataLoader.Eval is None:
        raise ConfigError("DataLoader.Eval: expected the evaluation data, got nothing")
    return config.DataLoader.Eval


def _load_evaluated_network(config: Config) -> Any:
    """Load the network; of a distillation only the deployed network, if losses and metrics use no other.

    The weights of the deployed network can be in a file of all networks or in a separate file.
    """
    arch = config.Arch
    if not isinstance(arch, DistillationConfig):
        return deploy.accelerate_eval(load_trained_network(config))
    name = arch.infer_model_name
    if networks_in_losses(config, "Eval") != {name}:
        return load_trained_network(config)
    return DistillationModel(
        {name: deploy.accelerate_eval(load_inference_network(config))}, frozen=[], inference_arch=name
    )


def try_batch(
    config: Config,
    split: Literal["Train", "Eval"],
    network: Classifier,
    loader: Loader,
    loss: losses.CombinedLoss,
    metric_list: metrics.MetricList,
) -> paddle.Tensor:
    """Compute network, losses and metrics for a few images, and return these images.

    Raises:
        ConfigError: data, network, losses and metrics do not fit each other.
    """
    with errors_with_key(f"DataLoader.{split}.dataset"):
        batch = read_first_batch(loader)
    images = batch.images.astype("float32") if split == "Train" else batch.images  # as the trainer does
    output = try_forward(
        network,
        images,
        config.Arch.deployed.name,
        f"DataLoader.{split}.dataset.transform_ops",
        lambda position: loader.samples.dataset.describe(int(batch.indices[position])),
    )
    for key, use in ((f"Loss.{split}", loss), (f"Metric.{split}", metric_list.update)):
        try:
            use(output, batch.labels)
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:  # shapes that do not fit
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ConfigError(f"{key}: does not fit the network's output and the labels: {reason}") from error
        except ConfigError as error:
            raise ConfigError(*(f"{key}: {problem}" for problem in error.problems)) from error
    metric_list.reset()
    return images


def require_weighted_classes(split: str, loss: losses.CombinedLoss, dataset: data.Dataset) -> None:
    """Check that some class of the data has a weight above 0 in each loss.

    Raises:
        ConfigError: all classes of the data have the weight 0.
    """
    if dataset.labels.ndim > 1 or dataset.labels.min() < 0:
        return
    classes = paddle.to_tensor(np.flatnonzero(np.bincount(dataset.labels)))
    for name, weight in loss.weights(classes).items():
        if not weight:
            raise ConfigError(
                f"Loss.{split}.{name}.class_weights: expected a weight above 0 for a class that has images in"
                f" DataLoader.{split}, got 0 for all of them"
            )
