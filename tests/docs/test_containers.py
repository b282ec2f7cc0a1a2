"""The container files of the guide keep to their schemas, and to what the guide says of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from sinch_qn.cli.app import cli
from sinch_qn.cli.journals import check_url

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
FOLDER = ROOT / "docs/guides/several-machines"
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


def container() -> dict[str, Any]:
    """Return the container of the Deployment."""
    deployment = next(each for each in MANIFESTS if each["kind"] == "Deployment")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def commands() -> list[list[str]]:
    """Return the command lines of the containers, with their variables in place."""
    config = next(each for each in MANIFESTS if each["kind"] == "ConfigMap")["data"]
    given = [re.sub(r"\$\((\w+)\)", lambda m: config[m[1]], word) for word in container()["args"]]
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


def test_health_is_what_status_says_of_the_journal_that_is_run() -> None:
    """Image and manifest ask the same, with options that exist, about a variable that is set."""
    (asked,) = re.findall(r'"exec sinch-qn (.*)"\]', CONTAINERFILE)
    probed = container()["livenessProbe"]["exec"]["command"][2].removeprefix("exec sinch-qn ")
    words = shlex.split(asked.replace('\\"', '"'))
    assert shlex.split(probed.replace("URL", "JOURNAL")) == words
    assert words == ["status", "$JOURNAL", "--running", "--first", "0"]
    status = cli.get_command(
        cli.make_context("sinch-qn", ["--help"], resilient_parsing=True), "status"
    )
    assert status is not None
    assert {"--running", "--first"} <= {n for each in status.params for n in each.opts}
    assert " JOURNAL=/data/run.db\n" in CONTAINERFILE
    assert COMPOSE["x-sinch"]["environment"]["JOURNAL"] in COMPOSE["services"]["worker"]["command"]


def test_the_image_is_not_root_and_its_journal_is_in_a_folder() -> None:
    """A user by number, which Kubernetes can tell from root; a volume that has the log, too."""
    assert re.search(r"^USER (\d+):\1$", CONTAINERFILE, re.MULTILINE)
    assert "\nVOLUME /data\n" in CONTAINERFILE
    assert '\nENTRYPOINT ["tini", "--", "sinch-qn"]\n' in CONTAINERFILE


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    """A journal, a key or a list of numbers beside the sources gets into no image."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert {name for names in copied for name in names.split()} == allowed


def test_a_worker_has_time_to_finish() -> None:
    """Containers are given longer than a run's `drain_timeout` of 60 seconds."""
    deployment = next(each for each in MANIFESTS if each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 60
    assert int(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s")) > 60
