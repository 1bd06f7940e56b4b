"""Durable jobs. The one package that knows DBOS: the rest of Lethe registers workflows, submits ids, and asks.

Arguments and results are ids, digests and numbers: they outlive the person's data. docs/jobs.md shows an example.
"""

from services.jobs.flow import Job, current, step, workflow
from services.jobs.queue import JobStatus, StepRecord, cancel, get, left_behind, resume, steps, submit
from services.jobs.worker import Worker, launch, migrate

__all__ = [
    "Job",
    "JobStatus",
    "StepRecord",
    "Worker",
    "cancel",
    "current",
    "get",
    "launch",
    "left_behind",
    "migrate",
    "resume",
    "step",
    "steps",
    "submit",
    "workflow",
]
