"""The ten lines that everyone starts with, and three of ours: save, deploy, monitor.  Run it beside a data.csv."""

import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

import trimtab

data = pd.read_csv("data.csv")
X, y = data.iloc[:, :-1], data.iloc[:, -1]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
model = LinearRegression().fit(X_train, y_train)
print("MSE:", mean_squared_error(y_test, model.predict(X_test)))

version = trimtab.register("risk", model, train=(X_train, y_train), test=(X_test, y_test))     # not model.save(…)
version.deploy()                                                           # `trimtab serve` now answers with it
print(trimtab.open("data.csv", name="risk").monitor(X_test, y_test))       # these rows against the training data
