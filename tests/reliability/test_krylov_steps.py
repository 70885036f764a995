"""Steps of a Krylov space that are kept, bear the right name and checksum, and do not hold what they should."""

import numpy as np
import pytest
from reliability.trials import FULL, TALLY, damages, judge, some

from haarflow.kernels import Store

pytestmark = pytest.mark.reliability

STEPS = [0, 7, 34] if FULL else [7]


def _block(change):
    return lambda arrays: {**arrays, "block": change(arrays["block"])}


def _column(change):
    return lambda arrays: {**arrays, "column": change(arrays["column"])}


def _other_signs(arrays):
    """The same space in other coordinates, as another LAPACK may choose them."""
    column = arrays["column"].copy()
    column[-arrays["block"].shape[1] :] *= -1
    return {"block": -arrays["block"], "column": column}


SPOILT = {
    "block not finite": _block(lambda block: block * np.nan),
    "one infinity": _block(lambda block: np.where(block == block.max(), np.inf, block)),
    "column not finite": _column(lambda column: column * np.nan),
    "fewer rows": _block(lambda block: block[:-1]),
    "more rows": _block(lambda block: np.vstack([block, block[:1]])),
    "turned": _block(lambda block: block.T),
    "more columns": _block(lambda block: np.hstack([block, block])),
    "no columns": _block(lambda block: block[:, :0]),
    "a vector": _block(lambda block: block[:, 0]),
    "a number": _block(lambda block: block[0, 0]),
    "four axes": _block(lambda block: block[None, None]),
    "float32": _block(lambda block: block.astype("f4")),
    "integers": _block(lambda block: np.ones(block.shape, "i8")),
    "truths": _block(lambda block: block > 0),
    "column of another height": _column(lambda column: column[:-1]),
    "column of another width": _column(lambda column: column[:, :-1]),
    "column a number": _column(lambda column: column[0, 0]),
    "column float32": _column(lambda column: column.astype("f4")),
    "no block": lambda arrays: {"column": arrays["column"]},
    "no column": lambda arrays: {"block": arrays["block"]},
    "nothing": lambda arrays: {},
    "zeros": _block(np.zeros_like),
    "huge": _block(lambda block: block * 1e300),
    "tiny": _block(lambda block: block * 1e-300),
    "equal columns": _block(lambda block: block[:, :1] + 0 * block),
    "a tile": lambda arrays: {"block_0": arrays["block"]},
    "larger than a step may be": lambda arrays: {**arrays, "more": np.zeros(3 * 2**20)},
    # A step may be narrower than the one before, but then its column says so too.
    "narrower": _block(lambda block: block * [1.0, 0.0]),
    "narrower on the left": _block(lambda block: block * [0.0, 1.0]),
}
FITTING = ("zeros", "huge", "tiny", "equal columns", "narrower", "narrower on the left")
# In shape, finite and orthonormal: such numbers are believed, but they must lead to an end.
BELIEVED = {
    "turned in their plane": _block(lambda block: block[:, ::-1]),
    "of another run": _other_signs,
    "column of zeros": _column(np.zeros_like),
    "huge column": _column(lambda column: column * 1e300),
    "the end of the space": lambda arrays: {
        "block": 0 * arrays["block"],
        "column": arrays["column"] * (np.arange(len(arrays["column"])) < len(arrays["column"]) - 2)[:, None],
    },
}


def forge(case, store, step, change):
    """Put a changed step in the place of the right one."""
    case.copy(store)
    (entry,) = (e for e in Store(store).entries() if e.kind == "krylov" and e.key["step"] == step)
    arrays = Store(store).get("krylov", entry.key)
    entry.path.unlink()
    Store(store).put("krylov", entry.key, change(arrays))
    (forged,) = store.glob(f"{entry.path.name[:39]}-*")
    return forged


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", some(SPOILT, "huge"))
def test_steps_that_do_not_fit(zygote, cases, store, name, step):
    forged = forge(cases[1], store, step, SPOILT[name])
    outcome = zygote.run(store, how=cases[1].how)
    assert judge("steps that do not fit", outcome, cases[1].result, store) == "same"
    assert [forged.name in text or f"step {step} of" in text for text in outcome.warned] == [True]
    assert outcome.computed == ()
    # Those that fit in shape are no damage to the store.
    assert forged.exists() == (name in FITTING)
    assert damages(store) == []


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", some(BELIEVED, "of another run"))
def test_steps_that_are_believed(zygote, cases, store, name, step):
    """A stranger's numbers may give others, warnings, or the solver's own error, but not a crash or a hang."""
    forge(cases[1], store, step, BELIEVED[name])
    outcome = zygote.run(store, how=cases[1].how)
    assert (outcome.status, outcome.log) == (0, "")
    assert outcome.result is not None or outcome.kinds[0] in ("StoreError", "ValueError")
    if name == "of another run":  # the steps after it, which are not of that run, are not used
        assert outcome.products == cases[1].outcome.products - step
    TALLY["steps that are believed"]["ended" if outcome.result else outcome.kinds[0]] += 1
