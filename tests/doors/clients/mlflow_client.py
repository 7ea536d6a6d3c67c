"""What does MLflow's own scoring client get?  Run in its own environment: host and port; prints JSON."""

from __future__ import annotations

import json
import sys

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

client = ScoringServerClient(sys.argv[1], sys.argv[2])
client.ping()
frame = pd.DataFrame({"volume": [0.5, 3.0], "rate": [1.0, 0.1], "extra": ["a", "b"]})
made = client.invoke(frame)
try:
    client.invoke(pd.DataFrame({"rate": [99.0], "volume": [1.0]}))
    refused = ""
except Exception as wrong:  # noqa: BLE001  that is what it raises
    refused = str(wrong)
matrix = client.invoke(frame[["rate", "volume"]].to_numpy())
print(json.dumps({"version": client.get_version(), "frame": made.get_predictions("ndarray").tobytes().hex(),
                  "matrix": matrix.get_predictions("ndarray").tobytes().hex(),
                  "params": client.invoke(frame, params={"predict_method": "predict"})["predictions"],
                  "refused": refused}))
