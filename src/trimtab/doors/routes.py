"""Which addresses does a server answer at?  All of them, for the server and its description."""

from __future__ import annotations

from trimtab.doors.inference.mlflow_scoring import ROUTES as MLFLOW
from trimtab.doors.inference.repository import ROUTES as REPOSITORY
from trimtab.doors.inference.routes import ROUTES as INFERENCE
from trimtab.doors.inference.tfserving import ROUTES as TFSERVING
from trimtab.doors.openapi import ROUTES as OPENAPI
from trimtab.doors.rest.routes import ROUTES as REST

ROUTES = (*INFERENCE, *REPOSITORY, *TFSERVING, *MLFLOW, *REST, *OPENAPI)
