"""What Gerken & Kessel 2024 (arXiv 2403.03103) report, finite widths throughout.

[T]: a table or the text of the authors. [F]: read off a vector figure of theirs, to about 1e-3 of the axis.
"""

SOURCE = "Gerken & Kessel 2024, arXiv 2403.03103"

# Relative orbit std of the mean of M members [F]: {inputs: {width: (M = 100, 316, 1000, 3162, 10000, single members)}}.
ISING_MEMBERS = (100, 316, 1000, 3162, 10000)
ISING = {
    "train": {
        512: (0.000816, 0.000456, 0.000227, 0.000125, 0.000070, 0.0075),
        1024: (0.000498, 0.000290, 0.000153, 0.000084, 0.000050, 0.0049),
        2048: (0.000114, 0.000060, 0.000036, 0.000020, 0.000011, 0.0010),
    },
    "test": {
        512: (0.00485, 0.00270, 0.00145, 0.00084, 0.00045, 0.0464),
        1024: (0.00414, 0.00231, 0.00127, 0.00076, 0.00039, 0.0412),
        2048: (0.00378, 0.00199, 0.00114, 0.00065, 0.00037, 0.0362),
    },
    "N(0,1)": {
        512: (0.1057, 0.0624, 0.0379, 0.0193, 0.0118, 1.17),
        1024: (0.1046, 0.0538, 0.0296, 0.0168, 0.0102, 0.96),
        2048: (0.0830, 0.0488, 0.0245, 0.0149, 0.0081, 0.82),
    },
}
# Relative difference of the mean of M = 100 members to the NTK prediction [F], widths 512, 1024, 2048.
ISING_TO_NTK = {
    "train": (0.00275, 0.00227, 0.00040),
    "test": (0.0476, 0.0357, 0.0287),
    "N(0,1)": (0.756, 0.601, 0.494),
}

# FashionMNIST, orbit same prediction off the manifold, for C4, C8, C16.
OSP = {
    "single nets + augmentation [T]": ("3.41 ± .18", "6.73 ± .24", "12.77 ± .71"),
    "deep ensemble + augmentation [T]": ("3.85 ± .12", "7.72 ± .34", "15.24 ± .69"),
    "grey CIFAR10, after epoch 1 [F]": ("3.62", "6.96", "14.03"),
    "grey CIFAR10, after epoch 10 [F]": ("3.13", "5.90", "12.02"),
    "grey CIFAR10, M = 5, epoch 10 [F]": ("–", "–", "13.96"),
    "grey CIFAR10, M = 10, epoch 10 [F]": ("–", "–", "14.66"),
    "grey CIFAR10, M = 100, epoch 10 [F]": ("–", "–", "15.06"),
}
# Fraction unchanged under random rotations [F], trained on C4, C8, C16.
SO2 = (".54", ".73", ".90")

# Cross product, orbit MSE [F]: {inputs: {width: (single members, M = 2, M = 10)}}.
CROSS = {
    "train": {128: (0.0468, 0.0315, 0.0185), 181: (0.035, 0.0252, 0.0182), 256: (0.030, 0.0232, 0.0181)},
    "test": {128: (0.0496, 0.0335, 0.0202), 181: (0.0377, 0.0277, 0.0197), 256: (0.032, 0.0249, 0.0199)},
    "off": {128: (0.041, 0.0251, 0.0152), 181: (0.030, 0.0196, 0.0141), 256: (0.024, 0.0180, 0.0137)},
}
