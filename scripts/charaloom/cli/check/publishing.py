"""Where results are published to: may they be, with the token of the environment."""

import os
from collections.abc import Sequence

from charaloom.cli.check.findings import Findings
from charaloom.config.params import Target
from charaloom.config.project import Project
from charaloom.config.stage_params import publish_params
from charaloom.publishing.hub.rights import check_publishing_rights


def check_publishing(project: Project, names: Sequence[str], findings: Findings) -> None:
    """Ask each hub that something is published to, first for the characters that it has nothing of."""
    published = project.config["published"]
    hubs = [name for name, target in published["targets"].items() if target["kind"] == "hub"]
    for name in hubs if names else ():
        target = Target.of(publish_params(project, names[0], name)["target"])
        results = project.config["paths"]["results"]
        new = [own for own in names if not os.path.exists(f"{results}/{own}/published/{name}.json")]
        key, characters = f"published.targets.{name}", [*new, *(own for own in names if own not in set(new))]
        for found in check_publishing_rights(key, target, published["private"], characters, os.environ):
            (findings.error if found.certain else findings.warning)(found.text)
