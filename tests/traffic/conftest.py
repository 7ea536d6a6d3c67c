"""The live project of tests/project, here too."""

from tests.project.conftest import live as live
