"""The part of the command `infer` that writes a table: its options, and what is printed at the end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ppzoo.cli.arguments import parse_integer
from ppzoo.cli.streams import print_error
from ppzoo.errors import ConfigError, PpzooError, count_text, one_line
from ppzoo.files import describe_absence, expand_user

if TYPE_CHECKING:
    from ppzoo.batch_inference import VideoSource
    from ppzoo.builders import BatchModel, TableSession, TableTask
    from ppzoo.config import Config

TABLE_OPTIONS = {"top": "--top", "every": "--every", "sort_into": "--sort-into", "sort_by": "--sort-by"}
BATCH_SIZE = 32  # images per batch if the network is an export
ANIMATIONS = (".gif", ".webp", ".avifs", ".flc", ".fli")  # extensions of images that can be videos


def add_table_arguments(infer: argparse.ArgumentParser) -> None:
    table = infer.add_argument_group(
        "predictions as a table",
        "With --output, IMAGE is a single folder, a video file, or the number of a camera, such as 0. An interrupted"
        " command is resumed by running it again without --overwrite; the table of a camera is completed by Ctrl-C.",
    )
    table.add_argument(
        "--output",
        type=expand_user,
        metavar="FILE",
        help="write one row per image or frame to FILE: .csv, .jsonl or .parquet (pip install 'ppzoo[parquet]')",
    )
    table.add_argument("--overwrite", action="store_true", help="replace FILE instead of resuming it")
    table.add_argument(
        "--top",
        type=parse_integer,
        metavar="N",
        help="number of classes per row (default: 5 for an export, else Infer.PostProcess.topk)",
    )
    table.add_argument(
        "--sort-into",
        type=expand_user,
        metavar="FOLDER",
        help="also copy or link each image into the folder FOLDER/CLASS of its predicted class",
    )
    table.add_argument("--sort-by", choices=("copy", "link"), help="copy (default) or create symbolic links")
    table.add_argument(
        "--every", type=parse_integer, metavar="N", help="predict every N-th frame of a video (default: 1)"
    )


def check_table_options(options: argparse.Namespace, inputs: list[str]) -> Path | VideoSource | None:
    """Return the folder or video whose predictions are written to a table; None without --output.

    Raises:
        ConfigError: the options contradict each other, or a value is out of range.
    """
    if options.output is None:
        given = [name for key, name in TABLE_OPTIONS.items() if getattr(options, key) is not None]
        given += ["--overwrite"] if options.overwrite else []
        if given:
            raise ConfigError(f"{given[0]}: expected it together with --output FILE, got it alone")
        return None
    if options.json:
        raise ConfigError("infer: expected either --json or --output FILE, got both; --output FILE.jsonl writes JSON")
    for key in ("top", "every"):
        value = getattr(options, key)
        if value is not None and value < 1:
            raise ConfigError(f"--{key}: expected at least 1, got {value}")
    from ppzoo.batch_inference import check_output

    check_output(Path(options.output), overwrite=options.overwrite)
    source = _find_source(inputs)
    _check_sorting(options, source)
    return source


def _find_source(inputs: list[str]) -> Path | VideoSource:
    from ppzoo.batch_inference import VideoSource
    from ppzoo.data import IMAGE_SUFFIXES

    expected = "infer: expected one folder of images, one video file or the number of a camera with --output"
    if len(inputs) != 1:
        raise ConfigError(f"{expected}, got {len(inputs)} arguments")
    (name,) = inputs
    if os.path.isdir(name):
        return Path(name)
    is_image = name.lower().endswith(IMAGE_SUFFIXES) and not name.lower().endswith(ANIMATIONS)
    if os.path.exists(name) and is_image:  # OpenCV would open it as a video of one frame
        raise ConfigError(f"{expected}, got the image {name!r}: use its folder, or --json instead of --output")
    if os.path.exists(name):
        return VideoSource(name)
    if name.isascii() and name.isdigit():
        return VideoSource(int(name))
    raise ConfigError(f"{expected}, got {name!r}, which {describe_absence(name)}")


def _check_sorting(options: argparse.Namespace, source: Path | VideoSource) -> None:
    from ppzoo.batch_inference import VideoSource

    if isinstance(source, Path) and options.every is not None:
        raise ConfigError(f"--every: expected a video file or a camera, got the folder {source}")
    if options.sort_into is None:
        if options.sort_by is not None:
            raise ConfigError("--sort-by: expected it together with --sort-into FOLDER, got it alone")
        return
    if isinstance(source, VideoSource):
        raise ConfigError(
            f"--sort-into: expected it together with a folder of images, got it with {source}: frames are not files"
        )
    if os.path.isfile(options.sort_into):
        raise ConfigError(f"--sort-into: expected a folder, got the file {options.sort_into}; use another path")
    images, target = source.resolve(), Path(options.sort_into).resolve()
    if images.is_relative_to(target) or target.is_relative_to(images):
        raise ConfigError(
            f"--sort-into: expected a folder that is not in {source} and does not contain it, got {options.sort_into}"
        )


def write_table(options: argparse.Namespace, network: Config | Path, source: Path | VideoSource) -> int:
    """Write the table and return the exit status.

    Args:
        network: a configuration, or the folder or tar file of an export.
    """
    from ppzoo import builders
    from ppzoo.batch_inference import VideoSource

    task = builders.TableTask(
        source=source,
        output=Path(options.output),
        every=options.every or 1,
        sort_into=None if options.sort_into is None else Path(options.sort_into),
        sort_by=options.sort_by or "copy",
        overwrite=options.overwrite,
    )
    count = builders.count_source(source)
    model = _load_model(options, network, count)
    with builders.open_table(model, task) as table:
        _fill(model, task, table, count)
    noun = "frame" if isinstance(source, VideoSource) else "image"
    print(one_line(f"{count_text(table.count, noun)}: {task.output}"))
    if not table.failures:
        return 0
    print_error(
        f"error: no prediction for {table.failures} of {count_text(table.count, noun)}; the column `error` of"
        f" {one_line(task.output)} names the reasons"
    )
    return PpzooError.exit_status


def _load_model(options: argparse.Namespace, network: Config | Path, count: int | None) -> BatchModel:
    import ppzoo
    from ppzoo import builders, engine

    if not isinstance(network, Path):
        return builders.batch_model_of_config(network, count or 0, top=options.top)
    engine.select_device(options.device or "auto")
    predictor = ppzoo.Predictor(network, batch_size=BATCH_SIZE)
    return builders.batch_model_of_export(predictor, top=options.top)


def _fill(model: BatchModel, task: TableTask, table: TableSession, count: int | None) -> None:
    """Write the rows. After an interruption, the table of a camera is complete; all other tables can be resumed."""
    from ppzoo import builders
    from ppzoo.batch_inference import VideoSource

    try:
        builders.fill_table(model, task, table, count)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and isinstance(task.source, VideoSource) and task.source.is_camera:
            table.finish()
            return
        is_mistake = isinstance(error, PpzooError) and error.exit_status == PpzooError.exit_status
        if table.count and not is_mistake:
            again = "without --overwrite " if task.overwrite else ""
            rows = count_text(table.count, "row")
            print_error(one_line(f"{task.output} has {rows} so far; run the same command {again}again to resume"))
        raise
