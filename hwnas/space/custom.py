"""A user's own chain space, described in YAML; ARCHITECTURE.md shows one in twenty lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import Field, create_model

from hwnas.arch import short_hash
from hwnas.errors import InputError
from hwnas.io.journal import canonical_json
from hwnas.io.schemas import FileSchema, load_model
from hwnas.ops import ACTIVATIONS, OPS, OpSpec, Shape
from hwnas.plugins.registry import resolved
from hwnas.space.chain import Block, ChainSpace, Conv, Head, Identity, LayerOption, Stage

Activation = Literal["none", "relu", "relu6", "hswish", "swish", "gelu"]
Width = Annotated[int, Field(ge=1, le=8192)]
assert Activation.__args__ == ACTIVATIONS  # type: ignore[attr-defined]


class LayerSchema(FileSchema):
    """An option of a layer as a space file spells it: ``kind``, and what the option may set.

    Subclass it for an operation of a plugin: ``kind: Literal["ghost"] = "ghost"``, fields, and
    :meth:`op`. It is an option of a chain space in Python as well.
    """

    kind: str

    def option(self) -> LayerOption:
        """Return the space's value of this option: itself, where the class has ``op``."""
        return self

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec | None:
        """Return the operation from (C, H, W) to ``out_channels`` channels; None: no operation."""
        option = self.option()
        assert option is not self, f"{type(self).__name__} must define op or option"
        return option.op(in_shape, out_channels, stride)


class BlockSchema(LayerSchema):
    """An inverted residual block."""

    kind: Literal["mbconv"]
    kernel: Literal[3, 5, 7]
    expand: Annotated[float, Field(gt=0, le=16)]
    act: Activation = "relu6"
    se: Annotated[float, Field(ge=0, le=1)] = 0.0
    se_gate: Literal["hsigmoid", "sigmoid"] = "hsigmoid"
    expand_conv: bool = False
    groups: Width = 1

    def option(self) -> LayerOption:
        """Return the space's value."""
        return Block(
            self.kernel, self.expand, self.act, self.se, self.se_gate, self.expand_conv, self.groups
        )


class ConvSchema(LayerSchema):
    """A plain convolution."""

    kind: Literal["conv"]
    kernel: Literal[1, 3, 5, 7]
    act: Activation = "relu6"
    groups: Width = 1

    def option(self) -> LayerOption:
        """Return the space's value."""
        return Conv(self.kernel, self.act, self.groups)


class IdentitySchema(LayerSchema):
    """Nothing; a projection where the shape changes."""

    kind: Literal["identity"]
    act: Activation = "none"  # of the projection

    def option(self) -> LayerOption:
        """Return the space's value."""
        return Identity(self.act)


class StageSchema(FileSchema):
    """A run of layers of one width."""

    width: Width
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    stride: Literal[1, 2] = 1
    options: tuple[str, ...] = ()
    same_shape_options: tuple[str, ...] = ()
    fixed: str | None = None


class StemSchema(FileSchema):
    """The first convolution, 3x3."""

    width: Width
    stride: Literal[1, 2] = 2
    act: Activation = "relu6"


class HeadSchema(FileSchema):
    """What follows the last stage."""

    hidden: Annotated[int, Field(ge=0, le=16384)] = 0
    features: Annotated[int, Field(ge=0, le=16384)] = 0
    act: Activation = "relu6"


class SpaceSchema(FileSchema):
    """A chain space's file; :func:`space_schema` is the one that knows the registered layers."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
    input_size: Annotated[int, Field(ge=8, le=1024)]
    num_classes: Annotated[int, Field(ge=2, le=100_000)]
    stem: StemSchema
    options: dict[str, LayerSchema]
    stages: Annotated[tuple[StageSchema, ...], Field(min_length=1)]
    head: HeadSchema = HeadSchema()
    layer_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,20}$")] = "layer"


def space_schema() -> type[SpaceSchema]:
    """Return the schema of a space file: its options are the operations that declare a ``layer``.

    Made anew for each file, as plugins may have been loaded since the last one.
    """
    layers = [resolved(kind.layer) for kind in OPS.values() if kind.layer is not None]
    layer_union: Any = Union[(*layers, IdentitySchema)]
    option = Annotated[layer_union, Field(discriminator="kind")]
    return create_model("SpaceSchema", __base__=SpaceSchema, options=(dict[str, option], ...))


def load_chain_space(
    path: Path, *, num_classes: int | None = None, input_size: int | None = None
) -> ChainSpace:
    """Read a space file; ``num_classes`` and ``input_size`` replace the file's.

    The space is called ``<name>@<hash of the description>``: two files that differ never share a
    name in tables or arch files.

    Raises:
        InputError: all problems of the file at once, each with its place.
    """
    model = load_model(space_schema(), path)
    problems = _problems(model)
    if problems:
        raise InputError(str(path), problems)
    description = model.model_dump(by_alias=True)
    for key, value in (("num_classes", num_classes), ("input_size", input_size)):
        if value is not None:
            description[key] = value
    stages = tuple(
        Stage(
            stage.width,
            stage.layers,
            stage.stride,
            stage.options,
            stage.same_shape_options,
            model.options[stage.fixed].option() if stage.fixed else None,
        )
        for stage in model.stages
    )
    space = ChainSpace(
        name=f"{model.name}@{short_hash(canonical_json(description))[:8]}",
        input_size=description["input_size"],
        num_classes=description["num_classes"],
        stem_width=model.stem.width,
        stem_stride=model.stem.stride,
        stem_act=model.stem.act,
        stages=stages,
        options={name: option.option() for name, option in model.options.items()},
        head=Head(model.head.hidden, model.head.act, model.head.features),
        layer_name=model.layer_name,
    )
    try:
        space.factors()
    except ValueError as error:
        raise InputError(str(path), [f"describes an impossible operation: {error}"]) from error
    return space


def _problems(model: SpaceSchema) -> list[str]:
    problems = []
    for number, stage in enumerate(model.stages):
        place = f"stages.{number}"
        named = (*stage.options, *stage.same_shape_options, *([stage.fixed] if stage.fixed else []))
        for name in named:
            if name not in model.options:
                problems.append(
                    f"{place}: option {name!r} is not under options; those are "
                    f"{', '.join(model.options)}"
                )
        if bool(stage.options) == bool(stage.fixed):
            problems.append(f"{place}: needs either options (a choice) or fixed (none)")
        if stage.fixed and stage.same_shape_options:
            problems.append(f"{place}: same_shape_options extend options; a fixed stage has none")
        if len(set(named)) != len(named):
            problems.append(f"{place}: an option is named twice")
    if not any(stage.options for stage in model.stages):
        problems.append("stages: no stage offers a choice, so there is nothing to search")
    return problems
