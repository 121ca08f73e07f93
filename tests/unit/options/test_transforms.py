"""Destinations of mappings and imports, and the texts that refuse them."""

from __future__ import annotations

import pytest

from broker.accounts.setup import shares
from broker.options.sections import MapDestination, SubjectMapping
from broker.options.transforms import Step, StepKind, TransformError, compile_transform, numbered

INVALID = "invalid mapping destination: "


@pytest.mark.parametrize(
    ("source", "destination", "error"),
    [
        ("a.*.*", "b.*", "invalid subject"),
        ("a.*.*", "b.>", "invalid subject"),
        ("a.>", "b.c", "invalid subject"),
        ("a.*.*", "b..c", INVALID + "invalid transform"),
        ("a.*.*", "b.c d", INVALID + "invalid transform"),
        ("a.*.*", "b.$3", INVALID + "wildcard index out of range in $3: [3]"),
        ("a", "b.$1", INVALID + "wildcard index out of range in $1"),
        ("a.>", "b.$1.>", INVALID + "wildcard index out of range in $1: [1]"),
        ("a.*.*", "b.{{foo(1)}}", INVALID + "unknown function in {{foo(1)}}"),
        ("a.*.*", "b.{{left(1,2)}}", INVALID + "unknown function in {{left(1,2)}}"),
        ("a.*.*", "b.{{SPLIT(1,-)}}", INVALID + "unknown function in {{SPLIT(1,-)}}"),
        ("a.*.*", "b.{{split(1)}}", INVALID + "not enough arguments passed to the function in {{split(1)}}"),
        ("a.*.*", "b.{{wildcard()}}", INVALID + "not enough arguments passed to the function in {{wildcard()}}"),
        ("a.*.*", "b.{{wildcard(1,2)}}", INVALID + "too many arguments passed to the function in {{wildcard(1,2)}}"),
        ("a.*", "b.{{random()}}", INVALID + "function argument is invalid or in the wrong format in {{random()}}"),
        ("a.*", "{{partition(x,1)}}", INVALID + "function argument is invalid or in the wrong format in {{partition(x,1)}}"),
        ("a.*", "{{partition(3000000000,1)}}",
         INVALID + "function argument is invalid or in the wrong format in {{partition(3000000000,1)}}"),
    ],
)  # fmt: skip
def test_refused(source: str, destination: str, error: str) -> None:
    with pytest.raises(TransformError) as failure:
        compile_transform(source, destination)
    assert str(failure.value) == error


@pytest.mark.parametrize(
    ("destination", "error"),
    [
        ("x", "not using all of the token wildcard(s) in x"),
        ("{{partition(3,1)}}", "the only mapping function allowed for import transforms is {{Wildcard()}} in {{partition(3,1)}}"),
    ],
)  # fmt: skip
def test_refused_for_imports(destination: str, error: str) -> None:
    with pytest.raises(TransformError) as failure:
        compile_transform("a.*", destination, strict=True)
    assert str(failure.value) == INVALID + error


def test_steps() -> None:
    transform = compile_transform("a.*.b.*.>", "x.$2.{{ Split( 1, -) }}.$SYS.>")
    assert transform.rest == 4
    assert transform.steps == [
        Step(StepKind.TEXT, "x"),
        Step(StepKind.WILDCARD, tokens=(3,)),
        Step(StepKind.SPLIT, "-", (1,)),
        Step(StepKind.TEXT, "$SYS"),
    ]
    assert numbered("a.*.b.*.>") == "a.$1.b.$2.>"


@pytest.mark.parametrize(("cluster", "expected"), [("", [30, 100]), ("other", [30, 100]), ("c1", [60, 100])])
def test_shares_by_cluster(cluster: str, expected: list[int]) -> None:
    mapping = SubjectMapping("a", [MapDestination("b", 30), MapDestination("c", 60, "c1")])
    found = shares(mapping, cluster)
    assert [upto for _, upto in found] == expected
    assert [step.text for transform, _ in found for step in transform.steps] == [
        "c" if cluster == "c1" else "b",
        "a",
    ]


def test_the_rest_is_lost_if_the_source_is_named() -> None:
    assert [upto for _, upto in shares(SubjectMapping("a", [MapDestination("a", 30)]), "")] == [30]
