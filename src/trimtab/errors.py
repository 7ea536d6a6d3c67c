"""What can go wrong, in words a caller can act on?

One class per thing a caller can act on; each carries a stable `code`, and `ANSWERS` is the only place that
turns a code into an HTTP status, an exit code and MLflow's `error_code`. Every message says what happened,
what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple


class Answer(NamedTuple):
    """How an error is told outside: over HTTP, as an exit code, to an MLflow client."""

    http: int
    exit: int
    mlflow: str


ANSWERS: Mapping[str, Answer] = {
    "usage": Answer(400, 2, "INVALID_PARAMETER_VALUE"),
    "config_invalid": Answer(400, 2, "INVALID_PARAMETER_VALUE"),
    "malformed": Answer(400, 2, "INVALID_PARAMETER_VALUE"),
    "data_unreadable": Answer(400, 2, "INVALID_PARAMETER_VALUE"),
    "forbidden": Answer(403, 2, "PERMISSION_DENIED"),
    "not_found": Answer(404, 2, "RESOURCE_DOES_NOT_EXIST"),
    "blob_missing": Answer(404, 2, "RESOURCE_DOES_NOT_EXIST"),
    "conflict": Answer(409, 5, "RESOURCE_ALREADY_EXISTS"),
    "live": Answer(409, 5, "INVALID_STATE"),
    "too_large": Answer(413, 2, "INVALID_PARAMETER_VALUE"),
    "contract_violation": Answer(422, 1, "INVALID_PARAMETER_VALUE"),
    "check_failed": Answer(422, 1, "INVALID_STATE"),
    "over_budget": Answer(422, 1, "INVALID_STATE"),
    "untrusted_model": Answer(422, 1, "INVALID_STATE"),
    "digest_mismatch": Answer(422, 1, "INVALID_STATE"),
    "signature_invalid": Answer(422, 1, "INVALID_STATE"),
    "journal_broken": Answer(422, 1, "INVALID_STATE"),
    "waiting": Answer(202, 3, "INVALID_STATE"),
    "missing_extra": Answer(501, 2, "NOT_IMPLEMENTED"),
    "busy": Answer(503, 4, "TEMPORARILY_UNAVAILABLE"),
    "store_unreachable": Answer(503, 4, "TEMPORARILY_UNAVAILABLE"),
    "store_newer": Answer(503, 2, "INVALID_STATE"),
    "store_full": Answer(507, 4, "TEMPORARILY_UNAVAILABLE"),
    "internal": Answer(500, 70, "INTERNAL_ERROR"),
}


class TrimtabError(Exception):
    """Base of every error of ours. `details` holds the same facts as the message, for machines."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details

    @property
    def answer(self) -> Answer:
        """How this error is told outside."""
        return ANSWERS[self.code]

    def to_json(self) -> dict[str, object]:
        """The error as every JSON door prints it: `{"schema", "error": {"code", "message", …}}`."""
        return {"schema": "trimtab.error/1", "error": {"code": self.code, "message": str(self), **self.details}}


class UsageError(TrimtabError):
    """An argument is wrong or missing."""

    code = "usage"


class ConfigInvalid(TrimtabError):
    """`trimtab.toml` or `contract.toml` can't be understood."""

    code = "config_invalid"


class Malformed(TrimtabError):
    """A request body, or a field in it, is not of the documented shape."""

    code = "malformed"


class DataUnreadable(TrimtabError):
    """A data source can't be read as a table."""

    code = "data_unreadable"


class Forbidden(TrimtabError):
    """The caller, its host or its origin may not do this."""

    code = "forbidden"


class NotFound(TrimtabError):
    """A name, number or id that nothing answers to."""

    code = "not_found"


class BlobMissing(NotFound):
    """The bytes of a digest are not in the blob store."""

    code = "blob_missing"


class Conflict(TrimtabError):
    """Somebody else was first, or the name is taken."""

    code = "conflict"


class Live(Conflict):
    """Refused because the version serves traffic now."""

    code = "live"


class TooLarge(TrimtabError):
    """A body, file or structure is over its stated bound."""

    code = "too_large"


class ContractViolation(TrimtabError):
    """Rows break the data contract; `details["violations"]` lists row, column, rule and value."""

    code = "contract_violation"


class CheckFailed(TrimtabError):
    """A gate or a check said no; the message says which and by how much."""

    code = "check_failed"


class OverBudget(TrimtabError):
    """The forecast of memory or time is over the budget and no fallback applies."""

    code = "over_budget"


class IntegrityError(TrimtabError):
    """Bytes, signatures or the journal are not what was recorded."""

    code = "digest_mismatch"


class DigestMismatch(IntegrityError):
    """Bytes do not have the recorded digest."""

    code = "digest_mismatch"


class SignatureInvalid(IntegrityError):
    """A signature does not verify under a key of this workspace."""

    code = "signature_invalid"


class JournalBroken(IntegrityError):
    """The hash chain or its signed head does not hold; `details["row"]` is the first bad row."""

    code = "journal_broken"


class UntrustedModel(TrimtabError):
    """A model file holds what the workspace does not trust; nothing of it was constructed."""

    code = "untrusted_model"


class Waiting(TrimtabError):
    """Nothing failed: a person must act first."""

    code = "waiting"


class MissingExtra(TrimtabError):
    """An optional package is not installed; the message names the `pip install` line."""

    code = "missing_extra"


class Busy(TrimtabError):
    """Overloaded for a moment; retry after a short while."""

    code = "busy"


class StoreUnreachable(TrimtabError):
    """The database or blob store can't be reached; retry."""

    code = "store_unreachable"


class StoreNewer(TrimtabError):
    """The workspace was written by a newer trimtab."""

    code = "store_newer"


class StoreFull(TrimtabError):
    """No space is left where the workspace lives."""

    code = "store_full"
