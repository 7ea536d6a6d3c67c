"""How is a model trained without holding up the loop?  In a process of its own, which ends with the one that began it.

    python -m trimtab.project.spawning WORKSPACE DECISION

The child is told by its standard input: while that is open, somebody wants its result; once it is closed, whoever began
it is gone, and it ends at once. It prints one JSON object, the result or the error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trimtab import canon, errors
from trimtab.errors import Busy, CheckFailed, TrimtabError
from trimtab.loop.actions import Beat
from trimtab.loop.model import Stored

BEAT_S: Final = 60.0
_LOOK_S: Final = 0.2


class Spawned:
    """Retrains in a process of its own on the workspace in a folder. stop: once it is set, the work is given up for
    now. beat_s: seconds between two beats."""

    def __init__(self, folder: Path, *, stop: threading.Event | None = None, beat_s: float = BEAT_S) -> None:
        self._folder, self._stop, self._beat_s = folder, stop or threading.Event(), beat_s

    def __call__(self, order: Stored, beat: Beat) -> Mapping[str, Any]:
        """As `learning.retrain`. Raises what the child raised; CheckFailed where it was killed, Busy on `stop`."""
        wanted, held = os.pipe()
        child = subprocess.Popen([sys.executable, "-m", "trimtab.project.spawning", str(self._folder), order.id],
                                 stdin=wanted, stdout=subprocess.PIPE)
        os.close(wanted)
        beaten = time.monotonic()
        try:
            while True:
                try:
                    told, _ = child.communicate(timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    if self._stop.is_set():
                        raise Busy("the loop ends now; the training is taken up again later") from None
                    if time.monotonic() - beaten > self._beat_s:
                        beat()
                        beaten = time.monotonic()
        finally:
            os.close(held)
            if child.poll() is None:
                child.kill()
                child.communicate()
        if child.returncode < 0 or not told:
            raise CheckFailed(f"the training was ended from outside (exit {child.returncode}); too little memory? See "
                              "[train] budget")
        return _result(canon.loads(told))


def _result(answer: Any) -> Mapping[str, Any]:
    if "error" not in answer:
        return dict(answer)
    told = answer["error"]
    kinds = {kind.code: kind for kind in vars(errors).values()
             if isinstance(kind, type) and issubclass(kind, TrimtabError)}
    raise kinds.get(told["code"], CheckFailed)(told["message"])


def main(folder: str, name: str) -> None:
    """The child's own work."""
    from trimtab.project import learning
    from trimtab.workspace import Workspace

    threading.Thread(target=_end_with_parent, name="trimtab-parent", daemon=True).start()
    answer: Any
    try:
        with Workspace.open(Path(folder)) as workspace:
            answer = learning.retrain(workspace, workspace.decisions.get(name))
    except TrimtabError as problem:
        answer = problem.to_json()
    sys.stdout.buffer.write(canon.dumps(canon.finite(answer)))


def _end_with_parent() -> None:
    os.read(0, 1)                               # whoever began us never writes: this is the end of it
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
