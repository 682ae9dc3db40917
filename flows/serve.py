"""`medsynth serve`: the deployments of prefect.yaml, run from this checkout on their schedules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect import serve
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import EntrypointType, load_flow_from_entrypoint

from flows.home import has_prefect_server, place_variables
from flows.job import Job
from medsynth.core.errors import UsageProblem
from medsynth.ingest.pacs.address import is_address

PREFECT_FILE = Path(__file__).parents[1] / "prefect.yaml"


def read_deployments(path: Path = PREFECT_FILE) -> list[dict[str, Any]]:
    """The deployments of a prefect.yaml, `{{ $NAME }}` filled from the environment."""
    if not path.is_file():
        raise UsageProblem("serve needs the prefect.yaml of a checkout; found none")
    deployments: list[dict[str, Any]] = yaml.safe_load(place_variables(path.read_text()))[
        "deployments"
    ]
    return deployments


def build_deployment(
    fields: Mapping[str, Any], roots: Mapping[str, Path | str | None], every_s: float | None
) -> RunnerDeployment:
    """One deployment; `roots` replace what prefect.yaml says, `every_s` its schedule."""
    module, _, function = str(fields["entrypoint"]).partition(":")
    entrypoint = f"{module.removesuffix('.py').replace('/', '.')}.{function}"
    flow = load_flow_from_entrypoint(entrypoint)
    given = {name: str(path) for name, path in roots.items() if path is not None}
    job = _job({**fields["parameters"]["job"], **given})
    return flow.to_deployment(
        name=fields["name"],
        schedule=_schedule(fields, every_s),
        parameters={"job": job.model_dump(mode="json")},
        description=fields["description"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _schedule(fields: Mapping[str, Any], every_s: float | None) -> Any:
    if every_s is not None:
        from datetime import timedelta

        return IntervalSchedule(interval=timedelta(seconds=every_s))
    given = fields["schedules"][0]
    return CronSchedule(cron=given["cron"], timezone=given["timezone"])


def _job(fields: Mapping[str, Any]) -> Job:
    """The job of a deployment, its roots absolute; raises UsageProblem where one is not given."""
    given = {k: str(v) for k, v in fields.items() if v}
    paths = {k: v if is_address(v) else Path(v).absolute() for k, v in given.items()}
    for name in ("source", "out"):
        if name not in paths:
            raise UsageProblem(
                f"serve needs --{name}, or MEDSYNTH_{name.upper()} in the environment"
            )
    return Job.model_validate(paths)


def serve_deployments(roots: Mapping[str, Path | str | None], every_s: float | None) -> None:
    """Serve every deployment, one run at a time, until interrupted."""
    if not has_prefect_server():
        raise UsageProblem(
            "serve needs a Prefect server: run `prefect server start` and set PREFECT_API_URL"
        )
    deployments = [build_deployment(fields, roots, every_s) for fields in read_deployments()]
    serve(*deployments, limit=1, print_starting_message=False)
