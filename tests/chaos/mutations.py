"""Guards that can be switched off, one at a time: a run without one must not pass the checker.

Each is a patch of script text. A patch that does not find its text is an error, so that a mutation cannot fade away
when a script is rewritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from shared.store import scripts


@dataclass(frozen=True, slots=True)
class Patch:
    """In a script, this text becomes that one."""

    script: str
    before: str
    after: str


MUTATIONS: dict[str, tuple[Patch, ...]] = {
    "no-fence": (
        Patch("finalize_jobs", "if TERMINAL[job.status] then\n    if held", "if false then\n    if held"),
        Patch(
            "finalize_jobs",
            "if not (held and job.status == 'started' and job.token == token) then -- FENCE",
            "if false then",
        ),
    ),
    "no-claim-compare-and-set": (
        Patch("claim_jobs", "if status ~= 'queued' or job.origin ~= queue then", "if false then"),
    ),
    "no-refund": (Patch("finalize_jobs", "if s.ms_per_token and more ~= 0 then", "if false then"),),
    "no-allow-oom": (Patch("finalize_jobs", "#!lua flags=allow-oom\n", "#!lua\n"),),
    "no-limiter": (Patch("claim_jobs", "if s.is_calm then return nil end", "if true then return nil end"),),
    "no-rescuer-guard": (
        Patch(
            "rescue_jobs",
            "if not job or job.status ~= 'started' or job.token ~= token then return 'dropped' end",
            "if not job then return 'dropped' end",
        ),
    ),
}


def mutate(patches: tuple[Patch, ...]) -> None:
    """Load scripts with these patches from now on."""
    load = scripts.load

    @cache
    def mutated(name: str, *, with_flags: bool) -> scripts.Script:
        script = load(name, with_flags=with_flags)
        text = script.text
        for patch in patches:
            if patch.script == name:
                if text.count(patch.before) != 1:
                    raise AssertionError(f"{name}: the guard is not where the mutation looks: {patch.before}")
                text = text.replace(patch.before, patch.after)
        return scripts.make(name, text) if text is not script.text else script

    for patch in patches:
        mutated(patch.script, with_flags=True)
    scripts.load = mutated  # type: ignore[assignment]
