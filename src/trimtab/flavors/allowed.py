"""Which types may a model file hold without anybody being asked?

One table: the loader of the skops format → the types that it may construct. Estimators are scikit-learn's own public
ones; around them stand the arrays, containers, losses, kernels, trees and search structures that fitted estimators
keep. Callables are named one by one: a function in a model file is code. What is not here is refused by
`sklearn.py`, unless the model's `trusted` list names it. Tree-like types hold raw indices that compiled code follows
without looking; they are allowed here because `sound.py` looks first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from trimtab.flavors.table import TYPES

_PRIMITIVES = frozenset(f"builtins.{name}" for name in ("bool", "float", "int", "str"))
_SCALARS = frozenset("numpy." + name for name in (
    "bool", "bool_", "bytes_", "complex128", "complex64", "datetime64", "float16", "float32", "float64", "int16",
    "int32", "int64", "int8", "intc", "longlong", "str_", "timedelta64", "uint16", "uint32", "uint64", "uint8",
    "uintc", "ulonglong"))
_SPARSE = frozenset(f"scipy.sparse._{kind}.{kind}_{shape}"
                    for kind in ("bsr", "coo", "csc", "csr", "dia") for shape in ("matrix", "array"))
_KERNELS = frozenset("sklearn.gaussian_process.kernels." + name for name in (
    "CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Hyperparameter", "Matern",
    "PairwiseKernel", "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel"))
_LOSS_WRAPPERS = frozenset("sklearn._loss.loss." + name for name in (
    "AbsoluteError", "ExponentialLoss", "HalfBinomialLoss", "HalfGammaLoss", "HalfMultinomialLoss", "HalfPoissonLoss",
    "HalfSquaredError", "HalfTweedieLoss", "HalfTweedieLossIdentity", "HuberLoss", "PinballLoss"))
_LINKS = frozenset("sklearn._loss.link." + name for name in (
    "HalfLogitLink", "IdentityLink", "Interval", "LogLink", "LogitLink", "MultinomialLogit"))
_LOSSES = frozenset("sklearn._loss._loss." + name for name in (
    "CyAbsoluteError", "CyExponentialLoss", "CyHalfBinomialLoss", "CyHalfGammaLoss", "CyHalfMultinomialLoss",
    "CyHalfPoissonLoss", "CyHalfSquaredError", "CyHalfTweedieLoss", "CyHalfTweedieLossIdentity", "CyHuberLoss",
    "CyPinballLoss")) | frozenset("sklearn.linear_model._sgd_fast." + name for name in (
        "EpsilonInsensitive", "Hinge", "ModifiedHuber", "SquaredEpsilonInsensitive", "SquaredHinge"))
_DISTANCES = frozenset(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for bits in ("", "32", "64") for name in (
    "BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Mahalanobis",
    "Manhattan", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean", "SokalSneath", "Yule"))
_INTERNALS = frozenset((
    "scipy.interpolate._bsplines.BSpline",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.GroupKFold",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.RepeatedKFold",
    "sklearn.model_selection._split.RepeatedStratifiedKFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.StratifiedShuffleSplit",
    "sklearn.model_selection._split.TimeSeriesSplit",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
))
_FUNCTIONS = frozenset((
    "numpy.mean",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.cluster._kmeans._kmeans_single_elkan",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.utils.validation.check_array",
)) | frozenset("sklearn.metrics._" + name for name in (
    "classification.accuracy_score", "classification.balanced_accuracy_score", "classification.brier_score_loss",
    "classification.f1_score", "classification.log_loss", "classification.precision_score",
    "classification.recall_score", "ranking.average_precision_score", "ranking.roc_auc_score",
    "regression.max_error", "regression.mean_absolute_error", "regression.mean_squared_error",
    "regression.median_absolute_error", "regression.r2_score", "regression.root_mean_squared_error"))
_FIXED: Mapping[str, frozenset[str]] = {
    "BytearrayNode": frozenset({"builtins.bytearray"}),
    "BytesNode": frozenset({"builtins.bytes"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "DefaultDictNode": frozenset({"collections.defaultdict"}),
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"}),
    "JsonNode": frozenset({"builtins.str"}),
    "ListNode": frozenset({"builtins.list"}),
    "LossNode": _LOSSES,
    "MaskedArrayNode": frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}),
    "NdArrayNode": frozenset({"numpy.ndarray"}) | _SCALARS,
    "PartialNode": frozenset({"functools.partial"}),         # of a function that is itself on the list
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
    "RandomStateNode": frozenset({"numpy.random.mtrand.RandomState"}),
    "SetNode": frozenset({"builtins.set"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "SparseMatrixNode": _SPARSE,
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "TypeNode": _PRIMITIVES | _SCALARS | {"builtins.list", "builtins.set", "builtins.tuple", "builtins.NoneType"},
}
KEY_TYPES = _PRIMITIVES | _SCALARS


@cache
def estimators() -> frozenset[str]:
    """Full names of scikit-learn's public estimators, as the installed version lists them. Imports scikit-learn."""
    from sklearn.utils import all_estimators

    return frozenset(f"{kind.__module__}.{kind.__name__}" for _, kind in all_estimators()
                     if kind.__module__.startswith("sklearn."))


@cache
def _ufuncs() -> frozenset[str]:
    """NumPy's and SciPy's compiled elementwise functions, under the names that the skops format gives them."""
    import numpy as np
    import scipy.special as special

    names = {f"{home}.{name}" for home in ("numpy", "numpy._core._multiarray_umath")
             for name in dir(np) if isinstance(getattr(np, name), np.ufunc)}
    names |= {f"{home}.{name}" for home in ("scipy.special", "scipy.special._ufuncs", "scipy.special._special_ufuncs")
              for name in dir(special) if isinstance(getattr(special, name), np.ufunc)}
    return frozenset(names)


def allowed(loader: str) -> frozenset[str]:
    """The full type names that `loader` may construct; empty for a loader that nobody needs (bound methods, partials).

    >>> "sklearn.linear_model._base.LinearRegression" in allowed("ObjectNode")
    True
    >>> allowed("OperatorFuncNode")
    frozenset()
    """
    if loader == "ObjectNode":
        return estimators() | TYPES | _INTERNALS | _KERNELS | _LOSS_WRAPPERS | _LINKS | _DISTANCES
    if loader == "FunctionNode":
        return _FUNCTIONS | _ufuncs()
    return _FIXED.get(loader, frozenset())


def shown(names: Iterable[str], limit: int = 8) -> str:
    """Type names for a sentence: sorted, at most `limit`, the rest counted.

    >>> shown(["b.B", "a.A"])
    'a.A, b.B'
    """
    listed = sorted(set(names))
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest
