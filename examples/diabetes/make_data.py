"""Which data does this example learn from?  (442 patients, ten measurements, disease progression a year later)

Writes `data.csv` beside this file from the copy that ships with scikit-learn; the same bytes every time.
"""

import csv
from pathlib import Path

from sklearn.datasets import load_diabetes

NAMES = ["age", "sex", "bmi", "blood_pressure", "cholesterol", "ldl", "hdl", "cholesterol_hdl_ratio",
         "log_triglycerides", "blood_sugar"]


def main() -> None:
    """Write data.csv: raw units, the target last."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    with Path(__file__).with_name("data.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow([*NAMES, "progression"])
        for row, target in zip(X.tolist(), y.tolist(), strict=True):
            table.writerow([f"{value:g}" for value in [*row, target]])


if __name__ == "__main__":
    main()
