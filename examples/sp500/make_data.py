"""Which data does this example learn from?  (S&P 500, 1999-2018, with the yields of AAA and BAA bonds)

Each row holds what was known at one day's close, and last the size of the next day's move, which is to be predicted.
Yields are monthly averages: a month's figure counts as known from the first day of the next month (one month's
publication lag), and is joined as of that day. Writes `data.csv` beside this file from the copies that ship with the
package `arch`; the same bytes every time.
"""

from pathlib import Path

import arch.data.default
import arch.data.sp500
import numpy as np
import pandas as pd

TARGET = "abs_return_next_day"
CUT = "2007-01-01"                             # the first day that the replayed model has not seen


def features(prices: pd.DataFrame, yields: pd.DataFrame) -> pd.DataFrame:
    """One row per trading day t, from nothing but data known at the close of t; days without full history are left out.

    prices: columns High, Low, Close, Volume, indexed by day. yields: columns AAA, BAA in percent, indexed by the first
    day of the month that they average. Returns and volatilities are in percent of a day; volume against its 22-day mean
    is in log units; yields and spread are in percent a year.
    """
    close, volume = prices["Close"], prices["Volume"].astype(float)
    daily = 100 * np.log(close / close.shift(1))
    known = pd.DataFrame({"return_today": daily}, index=prices.index)
    for lag in (1, 2, 3, 4):
        known[f"return_{lag}d_ago"] = daily.shift(lag)
    known["range_today"] = 100 * np.log(prices["High"] / prices["Low"])
    for days in (5, 22, 66):
        known[f"realised_vol_{days}d"] = (daily**2).rolling(days).mean() ** 0.5
    known["volume_vs_22d"] = np.log(volume / volume.rolling(22).mean())
    published = yields.set_axis(yields.index + pd.DateOffset(months=1)).sort_index()
    as_of = published.reindex(known.index, method="ffill")
    known["aaa_yield"], known["baa_yield"] = as_of["AAA"], as_of["BAA"]
    known["credit_spread"] = as_of["BAA"] - as_of["AAA"]
    return known.dropna()


def table(prices: pd.DataFrame, yields: pd.DataFrame) -> pd.DataFrame:
    """`features` with the next trading day's absolute log return, in percent, as the last column."""
    known = features(prices, yields)
    daily = 100 * np.log(prices["Close"] / prices["Close"].shift(1))
    known[TARGET] = daily.abs().shift(-1)
    return known.dropna()


def main() -> None:
    """Write data.csv, one row per trading day in the order of time; and for `replay/` the years before 2007, to be
    trained on, and those from 2007 on, to be replayed as traffic."""
    rows, folder = table(arch.data.sp500.load(), arch.data.default.load()), Path(__file__).parent
    parts = {"data.csv": rows, "replay/data.csv": rows[rows.index < CUT], "replay/later.csv": rows[rows.index >= CUT]}
    (folder / "replay").mkdir(exist_ok=True)
    for name, part in parts.items():
        part.to_csv(folder / name, index_label="date", float_format="%.6f", date_format="%Y-%m-%d", lineterminator="\n")


if __name__ == "__main__":
    main()
