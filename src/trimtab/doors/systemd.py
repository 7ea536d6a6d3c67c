"""Which systemd unit runs this server?  Restarted where it dies, drained on stop, and allowed little else."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Final

from trimtab.doors.server import DRAIN_S
from trimtab.errors import UsageError

_UNIT: Final = """\
# Put this into /etc/systemd/system/trimtab.service, then: systemctl daemon-reload; systemctl enable --now trimtab
[Unit]
Description=trimtab: models of {folder}
After=network.target

[Service]
User={user}
WorkingDirectory={place}
ExecStart={command}
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec={stop_s}
LimitNOFILE=65536
UMask=0077
ReadWritePaths={folder}
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def unit(folder: Path, *, host: str, port: int, durability: str, loop: bool, grpc_port: int | None, default: str,
         workers: int, memory: str) -> str:
    """The text of the unit. folder: of the workspace. Raises UsageError for a path that a unit can't hold."""
    folder = folder.absolute()
    if any(character in str(folder) for character in " \t\n\r\"'\\"):
        raise UsageError(f"a unit can't name the folder {str(folder)!r}; move the workspace to a plainer one")
    words = [sys.executable, "-m", "trimtab", "serve", "--workspace", str(folder), "--host", host, "--port", str(port),
             "--durability", durability, "--workers", str(workers), *([] if loop else ["--no-loop"]),
             *([] if grpc_port is None else ["--grpc-port", str(grpc_port)]),
             *(["--default", default] if default else []), *(["--memory", memory] if memory else [])]
    return _UNIT.format(folder=_escaped(str(folder)), place=_escaped(str(folder.parent)), user=getpass.getuser(),
                        command=" ".join(f'"{_escaped(word)}"' if " " in word else _escaped(word) for word in words),
                        stop_s=DRAIN_S + 15)


def _escaped(text: str) -> str:
    return text.replace("%", "%%").replace("$", "$$")
