"""How many rows of a list does a request ask for?"""

from __future__ import annotations

from starlette.requests import Request

from trimtab.errors import Malformed

MAX_PAGE = 1000


def limit_of(request: Request) -> int:
    """`?limit=…`, 1 to 1,000; 100 where it is left out. Raises Malformed."""
    text = request.query_params.get("limit", "100")
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MAX_PAGE and len(text) < 9):
        raise Malformed(f"limit: a whole number from 1 to {MAX_PAGE}", field="limit")
    return int(text)
