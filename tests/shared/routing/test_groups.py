"""The book of groups: which one counts, what may be added, and what a broken one does to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import InvalidRequest
from shared.routing import GroupBook
from shared.settings import GroupSettings, load_settings, seed_groups


def group(*targets: str, **fields: object) -> GroupSettings:
    return GroupSettings.model_validate({"targets": targets, **fields})


def book(**file: GroupSettings) -> GroupBook:
    return GroupBook(seeds={"seed": group("seeded")}, file=file, tiers={"tier": "model"})


def targets_of(groups: GroupBook, group_id: str) -> tuple[str, ...]:
    found = groups.get(group_id)
    assert found is not None
    return found.settings.targets


def test_settings_bring_the_seeds(tmp_path: Path) -> None:
    """Under those of the file."""
    path = tmp_path / "a.toml"
    path.write_text('[groups.mine]\ntargets = ["x"]\n[groups.fast-flow]\ntargets = ["y"]\n')
    groups = GroupBook.from_settings(load_settings(path, env={}))
    origins = {one.id: one.origin for one in groups}
    assert set(origins) == {*seed_groups(), "mine"}
    assert (origins["mine"], origins["fast-flow"], origins["dispatcher"]) == ("file", "file", "seed")
    assert targets_of(groups, "fast-flow") == ("y",)


def test_file_goes_over_run_time_and_that_over_seeds() -> None:
    """What the file says is read-only, even if Redis says something else."""
    groups = book(mine=group("file")).with_run_time(
        {"mine": group("run"), "seed": group("run"), "new": group("run")}
    )
    assert {one.id: (one.origin, one.settings.targets[0]) for one in groups} == {
        "mine": ("file", "file"),
        "seed": ("run time", "run"),
        "new": ("run time", "run"),
    }


def test_group_can_be_added_and_taken_away() -> None:
    """The book before stays as it is; a seed comes back."""
    before = book()
    after = before.with_group("seed", group("other")).with_group("b", group("seed"))
    assert before.get("b") is None
    assert targets_of(after, "seed") == ("other",)
    back = after.without("seed").without("b")
    assert {one.id: one.origin for one in back} == {"seed": "seed"}
    assert targets_of(back, "seed") == ("seeded",)


@pytest.mark.parametrize(
    ("group_id", "settings", "message"),
    [
        ("mine", group("x"), "group 'mine' is in the settings file: change it there"),
        ("tier", group("x"), "group 'tier': has the name of a tier, which goes first"),
        (
            "a/b",
            group("x"),
            "group 'a/b': a name has letters, digits and : . _ - (the first one of these), up to 64",
        ),
        ("a", group("a"), "group 'a' leads into a circle: a -> a"),
        ("to-mine", group("to-mine", "x"), "group 'to-mine' leads into a circle: to-mine -> to-mine"),
        (
            "a",
            group("x", "y", strategy="classifier", selector="rater"),
            "group 'a' asks a selector that needs a rating itself: a -> rater",
        ),
    ],
)
def test_group_that_cannot_be_is_refused(group_id: str, settings: GroupSettings, message: str) -> None:
    """When it is defined."""
    groups = book(mine=group("a"), rater=group("x", "y", strategy="classifier", selector="z"))
    with pytest.raises(InvalidRequest) as caught:
        groups.with_group(group_id, settings)
    assert str(caught.value) == message


def test_circle_over_others_is_refused_at_definition() -> None:
    """Naming the way, by whichever group is told of first."""
    groups = book().with_group("a", group("b")).with_group("b", group("c", "model"))
    with pytest.raises(InvalidRequest, match="leads into a circle: a -> b -> c -> a"):
        groups.with_group("c", group("a"))


def test_eleventh_level_is_refused_at_definition() -> None:
    """Ten groups inside each other are allowed."""
    groups = book()
    for number in range(10, 0, -1):
        groups = groups.with_group(f"g{number}", group(f"g{number + 1}"))
    with pytest.raises(InvalidRequest, match="'g0' is nested over 10 deep: g0 -> g1 -> "):
        groups.with_group("g0", group("g1"))


@pytest.mark.parametrize(
    ("group_id", "message"),
    [
        ("mine", "group 'mine' is in the settings file: change it there"),
        ("seed", "group 'seed' is built in"),
        ("nobody", "group 'nobody' does not exist"),
    ],
)
def test_only_run_time_groups_can_be_taken_away(group_id: str, message: str) -> None:
    """The others are not in Redis."""
    with pytest.raises(InvalidRequest) as caught:
        book(mine=group("x")).without(group_id)
    assert str(caught.value) == message


def test_unknown_targets_are_allowed() -> None:
    """A name may be a model, or a group that is made later."""
    later = book().with_group("a", group("b", "never-heard-of")).with_group("b", group("x"))
    assert all(one.fault is None for one in later)


def test_faults_of_redis_stand_with_their_groups() -> None:
    """Two producers may each close half of a circle: what is not in it goes on, and the circle can be mended."""
    broken = book(mine=group("a", "x")).with_run_time({"a": group("b"), "b": group("a"), "fine": group("x")})
    faults = {one.id: one.fault for one in broken}
    assert faults == {
        "seed": None,
        "fine": None,
        "a": "leads into a circle: a -> b -> a",
        "b": "leads into a circle: a -> b -> a",
        "mine": "leads into a circle: a -> b -> a",
    }
    assert all(one.fault is None for one in broken.with_group("b", group("x")))
    assert all(one.fault is None for one in broken.without("b"))


def test_impossible_names_in_redis_are_left_out() -> None:
    """Anybody can write there."""
    groups = book().with_run_time(
        {"a/b": group("x"), "": group("x"), "x" * 65: group("x"), "a:b": group("x")}
    )
    assert [one.id for one in groups] == ["seed", "a:b"]


def test_warnings_are_those_of_the_rules() -> None:
    """Shown where groups are."""
    groups = book(mine=group("x", rules=[{"pattern": "("}]))
    found = groups.get("mine")
    assert found is not None
    assert found.warnings == ("rule [0] has a pattern that is taken as a text only: missing ): (",)
