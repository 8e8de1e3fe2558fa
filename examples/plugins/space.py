"""A space: residual networks with bottlenecks in the manner of ResNet (He et al., CVPR 2016).

    hwnas spaces show resnet-like:input_size=32,width=16 --plugin space.py

Each layer is a plain 3x3 convolution, a grouped one as in ResNeXt, an inverted residual block, or
nothing. Four stages of three layers halve the image and double the width.
"""

from hwnas.plugins import (
    Block,
    ChainSpace,
    Conv,
    Head,
    Identity,
    LayerOption,
    Param,
    Stage,
    register_space,
)

OPTIONS: dict[str, LayerOption] = {
    "conv3": Conv(3, "relu"),
    "group3": Conv(3, "relu", groups=8),
    "mb2_k3": Block(3, 2, "relu"),
    "mb2_k5": Block(5, 2, "relu"),
    "skip": Identity(),
}


def resnet_like(name: str, *, input_size: int, num_classes: int, width: int) -> ChainSpace:
    """Return the space whose first stage has ``width`` channels, a multiple of 8."""
    always = tuple(option for option in OPTIONS if option != "skip")
    return ChainSpace(
        name=name,
        input_size=input_size,
        num_classes=num_classes,
        stem_width=width,
        stem_stride=1 if input_size <= 64 else 2,
        stem_act="relu",
        # the first layer of a stage changes the shape, so only the others can be skipped
        stages=tuple(Stage(width * 2**i, 3, min(i + 1, 2), always, ("skip",)) for i in range(4)),
        options=OPTIONS,
        head=Head(hidden=0),
    )


register_space(
    "resnet-like",
    "4 stages of 3 layers: 3x3 convolutions, plain or grouped, or inverted residual blocks",
    resnet_like,
    {
        "input_size": Param(64, 16, 512),
        "num_classes": Param(10, 2, 100_000),
        "width": Param(32, 8, 256),
    },
)
