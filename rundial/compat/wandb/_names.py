"""The names of ``wandb`` that are loaded when they are first asked for, and those that are missing."""

from __future__ import annotations

LAZY = {
    "Api": "_api",
    "Artifact": "_artifact",
    "Audio": "data_types",
    "Classes": "data_types",
    "Graph": "data_types",
    "Histogram": "data_types",
    "Html": "data_types",
    "Image": "data_types",
    "JoinedTable": "_table",
    "Molecule": "data_types",
    "Object3D": "data_types",
    "PartitionedTable": "_table",
    "Plotly": "data_types",
    "Table": "_table",
    "Video": "data_types",
    "agent": "_sweep",
    "box3d": "data_types",
    "controller": "_controller",
    "install": "_install",
    "plot_table": "plot",
    "sagemaker_auth": "_sagemaker",
    "sweep": "_sweep",
    "visualize": "plot",
}
"""Names and the modules they lie in; ``module:name`` when it has another one there."""
MODULES = {
    name: name
    for name in (
        "apis",
        "catboost",
        "data_types",
        "env",
        "errors",
        "fastai",
        "gym",
        "helper",
        "integration",
        "keras",
        "lightgbm",
        "plot",
        "sacred",
        "sdk",
        "sklearn",
        "tensorboard",
        "tensorflow",
        "util",
        "wandb_run",
        "xgboost",
    )
} | {"plots": "plot", "wandb_sdk": "sdk"}
"""Names that are modules."""
UNSUPPORTED = frozenset(
    {
        "ArtifactTTL",
        "EvalTable",
        "agents",
        "analytics",
        "attach",
        "beta",
        "docker",
        "jupyter",
        "pin_config_keys",
        "profiler",
        "proto",
        "termsetup",
        "trigger",
    }
)
"""Names of W&B that are missing here."""
