"""Where the tiles of a Krylov block lie, and who multiplies with them: objects that travel to other processes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from haarflow.kernels.distributed import Cluster
from haarflow.kernels.gram_tiles import Corner, GramTile
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

__all__ = ["ClusterProduct", "TilesHere", "TilesStored"]


@dataclass(frozen=True, eq=False)
class TilesHere:
    """Tiles in memory, which travel along.

    Attributes
    ----------
    tiles : dict
        Every tile by its corner.
    irrep : int
        Whose blocks.
    """

    tiles: dict[Corner, GramTile] = field(repr=False)
    irrep: int

    def __call__(self, corner: Corner, buffer: np.ndarray) -> np.ndarray:
        """Return one tile's block."""
        return self.tiles[corner].ntk[self.irrep]


@dataclass(frozen=True, eq=False)
class TilesStored:
    """Tiles in a store, which are found there again, or computed.

    Attributes
    ----------
    tiles : TileStore
        The tiles.
    irrep : int
        Whose blocks.
    """

    tiles: TileStore
    irrep: int

    def __call__(self, corner: Corner, buffer: np.ndarray) -> np.ndarray:
        """Return one tile's block, read into the buffer."""
        return self.tiles.block(corner, self.irrep, buffer)


@dataclass(frozen=True, eq=False)
class ClusterProduct:
    """Products made by a cluster; no connection travels, so elsewhere they are made from the store.

    Attributes
    ----------
    cluster : Cluster
        Who multiplies.
    block : TiledBlock
        With what.
    """

    cluster: Cluster
    block: TiledBlock

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Return the block times v [n d, p]."""
        return self.cluster.product(self.block.irrep, v)

    def __reduce__(self) -> tuple[Callable[[TiledBlock], Callable[[np.ndarray], np.ndarray]], tuple[TiledBlock]]:
        """Leave the cluster behind."""
        return _product_of, (self.block,)


def _product_of(block: TiledBlock) -> Callable[[np.ndarray], np.ndarray]:
    return block.product
