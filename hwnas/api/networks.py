"""Networks as torch modules that know which architecture they are."""

from __future__ import annotations

from pathlib import Path

from hwnas.api.spaces import Space, SpaceLike, as_space
from hwnas.arch import Arch
from hwnas.io.html import rows_html
from hwnas.io.installed import names_missing_packages
from hwnas.nn.build import build_network
from hwnas.nn.cells import WiredNetwork
from hwnas.ops import OpSpec
from hwnas.train.checkpoint import load_weights, save_weights


class Network(WiredNetwork):
    """The plain torch network of an architecture: images (N, 3, H, W) to logits (N, classes).

    Made by :func:`build`. Its children are its operations, ``layers[0]`` named ``0`` and so on, so
    that its ``state_dict`` has the keys of the weights that runs train and bundles hold.
    """

    def __init__(self, space: Space, arch: Arch, *, seed: int = 0) -> None:
        layers, wiring = space.layers(arch), space.definition.wiring(arch)
        built = build_network(layers, wiring, seed=seed)
        chain = tuple((place - 1,) for place in range(len(layers)))
        super().__init__(list(built.children()), chain if wiring is None else wiring)
        self.space = space
        self.arch = arch
        self.layers: tuple[OpSpec, ...] = layers

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one image, ``(channels, height, width)``."""
        return self.layers[0].in_shape

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def params(self) -> int:
        """The number of parameters."""
        return sum(layer.params for layer in self.layers)

    def save_weights(self, path: str | Path) -> None:
        """Write the weights and the statistics of batch norms as safetensors."""
        save_weights(self, Path(path))

    def load_weights(self, path: str | Path) -> None:
        """Read weights of this architecture, such as a run's ``checkpoints/*.safetensors``.

        Raises:
            InputError: the file is broken, or of another network; lists the differences.
        """
        load_weights(self, Path(path))

    def _repr_html_(self) -> str:
        rows = [
            (
                place,
                layer.kind,
                "x".join(map(str, layer.in_shape)),
                layer.out_channels,
                f"{layer.macs:,}",
                f"{layer.params:,}",
            )
            for place, layer in enumerate(self.layers)
        ]
        title = f"{self.space.name} {self.arch.arch_id}: {self.macs:,} MACs, {self.params:,} params"
        return rows_html(title, ["", "operation", "input", "channels", "MACs", "params"], rows)


@names_missing_packages
def build(space: SpaceLike, arch: Arch, *, seed: int = 0) -> Network:
    """Return the network of ``arch`` with initial weights drawn from ``seed``.

    He normal with fan-out for convolutions, N(0, 0.01) for linear layers. torch's global generator
    stays as it was.

    Raises:
        InputError: ``arch`` is of another space.

    Example:
        >>> import hwnas, torch
        >>> space = hwnas.load_space("tiny")
        >>> network = hwnas.build(space, space.sample(1, seed=0)[0])
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return Network(as_space(space), arch, seed=seed)
