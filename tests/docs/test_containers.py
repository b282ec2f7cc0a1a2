"""The container files of the guide keep to their schemas, and to what the guide says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from sinch_qn.cli.app import cli
from sinch_qn.cli.journals import check_url

FOLDER = Path(__file__).parents[2] / "docs/guides/several-machines"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_manifests_keep_to_kubernetes_schemas(manifest: dict[str, Any]) -> None:
    """Strictly: no unknown field, in the latest version that the validator has."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_is_found() -> None:
    """The validators would find a mistake."""
    broken = {**MANIFESTS[-1], "spec": {"maxUnavailabel": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)
    with pytest.raises(ValueError, match="imag"):
        PyCompose.from_yaml("services: {worker: {imag: sinch-qn}}")


def test_the_compose_file_keeps_to_its_specification() -> None:
    """The Compose specification parses it, once its anchors are merged as Docker does."""
    PyCompose.from_yaml(yaml.safe_dump(COMPOSE))


def commands() -> list[list[str]]:
    """Return the command lines of the containers, with their variables in place."""
    deployment = next(each for each in MANIFESTS if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    config = next(each for each in MANIFESTS if each["kind"] == "ConfigMap")["data"]
    given = [re.sub(r"\$\((\w+)\)", lambda m: config[m[1]], word) for word in container["args"]]
    return [COMPOSE["services"][name]["command"] for name in ("numbers", "worker")] + [given]


@pytest.mark.parametrize("words", commands(), ids=lambda words: words[0])
def test_their_commands_are_this_projects(words: list[str]) -> None:
    """Options exist, and URLs have no password."""
    (url,) = [word for word in words if word.startswith("postgresql://")]
    assert check_url(url) == url
    command = cli.get_command(
        cli.make_context("sinch-qn", ["--help"], resilient_parsing=True), words[0]
    )
    assert command is not None
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_worker_has_time_to_finish() -> None:
    """Containers are given longer than a run's `drain_timeout` of 60 seconds."""
    deployment = next(each for each in MANIFESTS if each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 60
    assert int(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s")) > 60
