"""Published weights at hand: Once-for-All's supernet, named or found where it is usually kept.

Its networks are those of ``ofa-mbv3``, trained on ImageNet: with some hundred images, networks that
begin with their share of it are fine-tuned, while others have to learn everything from these
images. torchvision and timm publish single networks, of which a search finds another one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import InputError, UsageError

PATTERN = "ofa_mbv3_d234_e346_k357_w*"
"""The names under which Once-for-All publishes its MobileNetV3 supernets."""
NONE = "none"


@dataclass(frozen=True)
class PublishedWeights:
    """A file of Once-for-All's MobileNetV3 supernet of this width, trained on so many classes."""

    path: Path
    width_mult: float
    num_classes: int

    def __str__(self) -> str:
        return (
            f"{self.path} (Once-for-All's supernet of width {self.width_mult:g}, "
            f"{self.num_classes} classes)"
        )


def places() -> list[Path]:
    """Return where published weights are looked for: files, or folders that hold them."""
    own = os.environ.get("HWNAS_WEIGHTS")
    torch_home = os.environ.get("TORCH_HOME")
    hub = Path(torch_home) if torch_home else Path.home() / ".cache" / "torch"
    return [
        *([Path(own)] if own else []),
        Path(".torch") / "ofa_nets",  # where Once-for-All's own program keeps them
        Path.home() / ".torch" / "ofa_nets",
        hub / "hub" / "checkpoints",
    ]


def weights_at_hand(named: str | None) -> PublishedWeights | None:
    """Return the weights of the file ``named``, or those found; None for ``none`` and for no file.

    Raises:
        UsageError: there is no file of this name, or HWNAS_WEIGHTS names none.
        InputError: the file is not Once-for-All's MobileNetV3 supernet.
    """
    if named == NONE:
        return None
    if named is not None:
        if not Path(named).is_file():
            raise UsageError(
                f"--init {named}: there is no such file. Next: give a checkpoint of "
                f"Once-for-All's MobileNetV3 supernet ({PATTERN}), or --init {NONE}"
            )
        return read(Path(named))
    own = os.environ.get("HWNAS_WEIGHTS")
    if own and not Path(own).exists():
        raise UsageError(
            f"HWNAS_WEIGHTS is {own}, which does not exist. Next: name a file or a folder, or "
            "unset it"
        )
    for place in places():
        files = [place] if place.is_file() else sorted(place.glob(PATTERN))
        if files:
            return read(files[0])
    return None


def read(path: Path) -> PublishedWeights:
    """Return what a file of weights is.

    Raises:
        InputError: it is not Once-for-All's MobileNetV3 supernet.
    """
    from hwnas.train.checkpoint import read_tensors

    tensors = read_tensors(path)
    bias = tensors.get("classifier.linear.bias")
    features = tensors.get("final_expand_layer.bn.weight")
    if bias is None or features is None:
        raise InputError(
            str(path),
            ["holds no classifier.linear.bias and final_expand_layer.bn.weight"],
            f"give a checkpoint of Once-for-All's MobileNetV3 supernet ({PATTERN}); a single "
            "model of torchvision or timm begins only the network that it is (hwnas retrain)",
        )
    # the last convolution has 960 channels at width 1 (make_divisible: steps of 8)
    return PublishedWeights(path, round(len(features) / 960, 2), len(bias))
