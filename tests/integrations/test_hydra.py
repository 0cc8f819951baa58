"""Configurations of Hydra and OmegaConf as a run's config."""

import pytest

from rundial.testing import capture_run

pytest.importorskip("omegaconf")
from omegaconf import OmegaConf


def test_an_omegaconf_config_keeps_its_shape():
    """Nesting, lists and types stay, interpolations are resolved, what is missing is said, secrets are left out."""
    config = OmegaConf.create({"model": {"sizes": [1, 2, "${model.depth}"], "depth": 3}, "lr": "???", "hub_token": "x"})
    with capture_run() as (run, server):
        run.update_config(config)
    (update,) = [event.config for event in server.events if getattr(event, "config", None)]
    assert update == {"model": {"sizes": [1, 2, 3], "depth": 3}, "lr": "???", "hub_token": "[redacted]"}


def test_an_interpolation_that_leads_nowhere_costs_no_other():
    """It stays as it is written."""
    with capture_run() as (run, server):
        run.update_config(OmegaConf.create({"a": "${b}", "c": [1]}))
    (update,) = [event.config for event in server.events if getattr(event, "config", None)]
    assert update == {"a": "${b}", "c": [1]}
