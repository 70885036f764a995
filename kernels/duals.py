"""Dual activations in terms of squared distances, exact at coincident, parallel and antipodal points of any size.

For a centred Gaussian pair (u, v) with variances q1, q2 and cosine c the state is
    near = 2 sqrt(q1 q2) (1 - c),  far = 2 sqrt(q1 q2) (1 + c),  so that K = E[u v] = (far - near) / 4,
and every nonlinearity maps it to the near and far of (s(u), s(v)), relative to sqrt(q1 q2) of them: where u and v are
nearly parallel the smaller one keeps its relative accuracy, while K alone would lose half the digits, and at no ratio
of the variances is a small covariance the difference of two large ones. `far` is None where K >= 0 is known.

Filters and poolings do not average near and far but
    D = E[(u - v)^2] = near + gap,  S = E[(u + v)^2] = far + gap,  gap = (sqrt q1 - sqrt q2)^2.
So a state may hold D and S beside them or alone:

- a pair function takes near and far where they are there; else they are D - gap and S - gap, which lose
  eps max(q1, q2) / sqrt(q1 q2) where the variances differ, and what is then rounding counts as 0;
- it always returns near, and far unless K >= 0 (behind ReLU and the absolute value; or where neither S nor far came);
- it returns D where D came, and S where S came and far is returned.

A layer that averages pairs drops near and far (`recursion`); layers without positions carry them alone.
"""

from haarflow.kernels.architecture import Erf, Gelu, Layer, LeakyRelu, Relu, Sin
from haarflow.kernels.pairs import Distances, Dual, Image
from haarflow.kernels.rectifiers import LEAKY, RELU
from haarflow.kernels.smooth import ERF, GELU, SIN

__all__ = ["DUALS", "Distances", "Dual", "Image"]

DUALS: dict[type[Layer], Dual] = {Relu: RELU, LeakyRelu: LEAKY, Erf: ERF, Gelu: GELU, Sin: SIN}
