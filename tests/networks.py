"""The registry of networks that kernel tests are parametrised over: a new layer is tested by standing here."""

from haarflow import kernels as k

W, B = 2**0.5, 0.1


def _conv(padding, b_std=B, **options):
    return k.Conv(3, padding, W, b_std, **options)


def repeated(nonlinearity, depth, bias):
    """A flat network of `depth` hidden layers."""
    return k.Sequential(*(k.Dense(1.4, bias), nonlinearity) * depth, k.Dense(1.0, bias))


# name -> (network, shape of one sample)
NETWORKS = {
    "linear": (k.Sequential(k.Dense(W, B)), (6,)),
    "relu": (k.Sequential(k.Dense(W, B), k.Relu(), k.Dense(W, B), k.Relu(), k.Dense(1.0, B)), (6,)),
    "relu without bias": (k.Sequential(k.Dense(W), k.Relu(), k.Dense(W), k.Relu(), k.Dense()), (6,)),
    "leaky relu": (k.Sequential(k.Dense(W), k.LeakyRelu(0.2), k.Dense(W), k.LeakyRelu(0.2), k.Dense()), (6,)),
    "erf": (k.Sequential(k.Dense(W, B), k.Erf(), k.Dense(W), k.Erf(), k.Dense()), (6,)),
    "gelu": (k.Sequential(k.Dense(W, B), k.Gelu(), k.Dense(W), k.Gelu(), k.Dense()), (6,)),
    "sin": (k.Sequential(k.Dense(W, B), k.Sin(), k.Dense(W), k.Sin(), k.Dense()), (6,)),
    "smooth before relu": (
        k.Sequential(
            *(k.Dense(W), k.Erf(), k.Dense(W, B), k.Relu(), k.Dense(W), k.Gelu(), k.Dense(W), k.Relu()),
            *(k.Dense(W, B), k.Sin(), k.Dense(W), k.LeakyRelu(-0.1), k.Dense()),
        ),
        (6,),
    ),
    "flatten first": (k.Sequential(k.Flatten(), k.Dense(W, B), k.Relu(), k.Dense()), (3, 2, 2)),
    "circular flatten": (
        k.Sequential(_conv("CIRCULAR"), k.Relu(), _conv("CIRCULAR", 0.0), k.Relu(), k.Flatten(), k.Dense()),
        (4, 4, 1),
    ),
    "same flatten": (
        k.Sequential(
            _conv("SAME"), k.Relu(), _conv("SAME", 0.0), k.Erf(), k.Flatten(), k.Dense(W), k.Relu(), k.Dense()
        ),
        (4, 3, 2),
    ),
    "circular gap": (
        k.Sequential(_conv("CIRCULAR"), k.Relu(), _conv("CIRCULAR", 0.0), k.Relu(), k.GlobalAvgPool(), k.Dense()),
        (4, 4, 1),
    ),
    "same gap": (
        k.Sequential(_conv("SAME"), k.Erf(), _conv("SAME", 0.0), k.Relu(), k.GlobalAvgPool(), k.Dense()),
        (3, 4, 2),
    ),
    "wide filter": (
        k.Sequential(k.Conv(5, "SAME", W, B), k.Relu(), k.Conv(1, "SAME", W), k.Relu(), k.GlobalAvgPool(), k.Dense()),
        (4, 4, 1),
    ),
    "residual": (
        k.Sequential(
            *(_conv("CIRCULAR"), k.Residual(k.Relu(), _conv("CIRCULAR")), k.Relu(), _conv("SAME")),
            *(k.Residual(k.Relu(), _conv("SAME", 0.0)), k.GlobalAvgPool(), k.Dense()),
        ),
        (4, 4, 1),
    ),
    "pool flatten": (
        k.Sequential(_conv("SAME"), k.Relu(), k.AvgPool(2), _conv("SAME"), k.Relu(), k.Flatten(), k.Dense()),
        (4, 4, 1),
    ),
    "pool gap dense": (
        k.Sequential(
            *(_conv("CIRCULAR"), k.Relu(), k.AvgPool(2), _conv("CIRCULAR"), k.Relu(), k.GlobalAvgPool()),
            *(k.Dense(W, B), k.Relu(), k.Dense()),
        ),
        (4, 4, 1),
    ),
}

# Filters that neural-tangents does not have.
SUPPORTS = {
    "cross": ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)),
    "off centre": ((0, 0), (1, 0), (0, -1)),
}
for _name, _support in SUPPORTS.items():
    for _padding in ("SAME", "CIRCULAR"):
        NETWORKS[f"{_name} {_padding}"] = (
            k.Sequential(
                *(_conv(_padding, support=_support), k.Relu(), _conv(_padding, support=_support), k.Relu()),
                *(k.GlobalAvgPool(), k.Dense()),
            ),
            (4, 4, 1),
        )

PEERLESS = {name for name in NETWORKS if name.split()[0] in ("cross", "off")}
