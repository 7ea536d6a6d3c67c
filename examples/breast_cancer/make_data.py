"""Which data does this example learn from?  (569 biopsies, thirty measurements of cell nuclei, the diagnosis)

Writes `data.csv` beside this file from the copy that ships with scikit-learn; the same bytes every time.
"""

import csv
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main() -> None:
    """Write data.csv: thirty numbers and, last, "malignant" or "benign"."""
    data = load_breast_cancer()
    with Path(__file__).with_name("data.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow([name.replace(" ", "_") for name in data.feature_names.tolist()] + ["diagnosis"])
        for row, code in zip(data.data.tolist(), data.target.tolist(), strict=True):
            table.writerow([f"{value:.6g}" for value in row] + [str(data.target_names[code])])


if __name__ == "__main__":
    main()
