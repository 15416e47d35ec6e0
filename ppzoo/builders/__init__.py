"""The only package that builds objects from configurations.

A configuration is passed as `ppzoo.config.Config`, or as a section of it; `build_transforms`, `build_loss`,
`build_metrics`, `build_lr_schedule`, `build_optimizer` and `build_postprocess` also take plain mappings and lists in
PaddleClas's form.
"""

from ppzoo.batch_inference import TableSession
from ppzoo.builders.batch_model import BatchModel, batch_model_of_config, batch_model_of_export
from ppzoo.builders.comparison import compare_runs
from ppzoo.builders.component_factory import build_loss, build_metrics, build_postprocess, build_transforms, components
from ppzoo.builders.data_loading import build_loader, read_image
from ppzoo.builders.data_report import inspect_data
from ppzoo.builders.dry_run import dry_run_config, read_config
from ppzoo.builders.evaluation import evaluate
from ppzoo.builders.explaining import Explanation, embed_images, explain_images, rank_similar
from ppzoo.builders.export import Exported, ExportRequest, export_model, require_export
from ppzoo.builders.export_explainer import ExportExplainer
from ppzoo.builders.folds import (
    SummaryKeeper,
    choose_folds,
    config_of_fold,
    describe_result,
    read_folds_config,
    record_start,
    require_evaluation,
    require_no_other_result,
    require_same_lists,
    result_of_fold,
    write_result,
)
from ppzoo.builders.inference import find_images, predict
from ppzoo.builders.models import build_model, create_model, load_pretrained, load_weights
from ppzoo.builders.optimization import build_lr_schedule, build_optimizer
from ppzoo.builders.photos import Photos, find_photos
from ppzoo.builders.prediction_tables import TableTask, count_source, fill_table, open_table
from ppzoo.builders.profiling import profile_training, require_steps
from ppzoo.builders.rebuilding import config_of_export
from ppzoo.builders.recipes import photo_recipe, read_photo_config
from ppzoo.builders.report_exports import evaluate_export
from ppzoo.builders.report_files import FILES as REPORT_FILES
from ppzoo.builders.report_files import open_report_folder, write_report_files
from ppzoo.builders.report_sources import EvaluatedNetwork, errors_of_data, evaluate_run, read_report_config
from ppzoo.builders.reporting import build_report, summarize_report
from ppzoo.builders.rollback import fit_with_rollback
from ppzoo.builders.safetensors_export import config_of_weights, export_weights
from ppzoo.builders.training import build_trainer, join_processes
from ppzoo.builders.tuning import find_learning_rate, require_range
from ppzoo.deploy import ExportedModel, open_export
from ppzoo.explain import require_projection

__all__ = [
    "REPORT_FILES",
    "BatchModel",
    "EvaluatedNetwork",
    "Explanation",
    "ExportExplainer",
    "ExportRequest",
    "Exported",
    "ExportedModel",
    "Photos",
    "SummaryKeeper",
    "TableSession",
    "TableTask",
    "batch_model_of_config",
    "batch_model_of_export",
    "build_loader",
    "build_loss",
    "build_lr_schedule",
    "build_metrics",
    "build_model",
    "build_optimizer",
    "build_postprocess",
    "build_report",
    "build_trainer",
    "build_transforms",
    "choose_folds",
    "compare_runs",
    "components",
    "config_of_export",
    "config_of_fold",
    "config_of_weights",
    "count_source",
    "create_model",
    "describe_result",
    "dry_run_config",
    "embed_images",
    "errors_of_data",
    "evaluate",
    "evaluate_export",
    "evaluate_run",
    "explain_images",
    "export_model",
    "export_weights",
    "fill_table",
    "find_images",
    "find_learning_rate",
    "find_photos",
    "fit_with_rollback",
    "inspect_data",
    "join_processes",
    "load_pretrained",
    "load_weights",
    "open_export",
    "open_report_folder",
    "open_table",
    "photo_recipe",
    "predict",
    "profile_training",
    "rank_similar",
    "read_config",
    "read_folds_config",
    "read_image",
    "read_photo_config",
    "read_report_config",
    "record_start",
    "require_evaluation",
    "require_export",
    "require_no_other_result",
    "require_projection",
    "require_range",
    "require_same_lists",
    "require_steps",
    "result_of_fold",
    "summarize_report",
    "write_report_files",
    "write_result",
]
