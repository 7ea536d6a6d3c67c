"""Which addresses does a server answer at?  All of them, for the server, its description and its pages."""

from __future__ import annotations

from trimtab.doors.inference import mlflow_scoring, repository, tfserving
from trimtab.doors.inference.routes import ROUTES as INFERENCE
from trimtab.doors.rest.routes import ROUTES as REST

ROUTES = (*INFERENCE, *repository.ROUTES, *tfserving.ROUTES, *mlflow_scoring.ROUTES, *REST)
