"""`make clients`: further real clients against a running chatq, each in an environment of its own.

    python -m tests.clients.more [NAME ...]

Environments are made once, in `.clients/` (`CHATQ_CLIENTS_DIR` names another folder), from PyPI and npm at
the versions below. A line for each client: green, or red with the end of what it said, or what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.more.judge import Judge
from tests.clients.served import serve
from tests.support import ROOT

HERE = Path(__file__).parent

LIMIT_S = 300.0
"""Longest that one client may take; importing some of them takes a minute on a busy machine."""

INSTALL_LIMIT_S = 1200.0


class Missing(Exception):
    """A client cannot be tried here; says why."""


@dataclass(frozen=True)
class PythonClient:
    """A package of PyPI, and a script that uses it.

    Attributes:
        requirements: As pip takes them.
        script: In this folder.
        wants_address: Whether the script is given the API's base URL as an argument.
    """

    name: str
    requirements: Sequence[str]
    script: str
    wants_address: bool = False

    def install(self, folder: Path) -> None:
        """Make the environment."""
        _call([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _call([*pip, "install", *self.requirements])

    def command(self, folder: Path, address: str) -> list[str]:
        """What tries it."""
        arguments = [address] if self.wants_address else []
        return [str(folder / "bin" / "python"), str(HERE / self.script), *arguments]


@dataclass(frozen=True)
class NodeClient:
    """A package of npm, and what is run with it in a folder that has a copy of `script`."""

    name: str
    requirements: Sequence[str]
    script: str
    arguments: Sequence[str]

    def install(self, folder: Path) -> None:
        """Make the environment.

        Raises:
            Missing: There is no npm.
        """
        if shutil.which("npm") is None:
            raise Missing("npm is not installed")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}')
        _call(
            ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *self.requirements], cwd=folder
        )

    def command(self, folder: Path, address: str) -> list[str]:
        """What tries it."""
        shutil.copy(HERE / self.script, folder)
        return [*self.arguments]


Client = PythonClient | NodeClient

CLIENTS: tuple[Client, ...] = (
    NodeClient("openai-node", ["openai@6.49.0"], "openai_node.mjs", ["node", "openai_node.mjs"]),
    PythonClient("litellm", ["litellm==1.83.7"], "ask_litellm.py"),
    PythonClient("langchain-openai", ["langchain-openai==1.7.3"], "ask_langchain.py"),
    PythonClient("pydantic-ai", ["pydantic-ai-slim[openai]==2.68.0"], "ask_pydantic_ai.py"),
    PythonClient("instructor", ["instructor==1.17.0"], "batch_instructor.py"),
    PythonClient("deepeval", ["deepeval==4.3.1"], "judge_deepeval.py"),
    PythonClient("lm-eval", ["lm_eval[api]==0.4.13"], "run_lm_eval.py", wants_address=True),
    NodeClient(
        "promptfoo",
        ["promptfoo@0.121.20"],
        "promptfooconfig.yaml",
        [
            "npx",
            "promptfoo",
            "eval",
            "-c",
            "promptfooconfig.yaml",
            "-j",
            "2",
            "--no-cache",
            "--no-progress-bar",
        ],
    ),
)

QUIET = {
    "DEEPEVAL_TELEMETRY_OPT_OUT": "YES",
    "DEEPEVAL_DISABLE_DOTENV": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
}
"""Nobody is told about a test, and nothing but the API is asked."""


def main(names: Sequence[str]) -> int:
    """Try the clients of these names, or all; exit code 1 if one is red."""
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        print(f"no such client: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    cache = Path(os.environ.get("CHATQ_CLIENTS_DIR") or ROOT / ".clients")
    is_green = True
    with tempfile.TemporaryDirectory(prefix="chatq-clients-") as name, Judge() as judge:
        folder = Path(name)
        with serve(folder, CHATQ_PROVIDERS__OPENAI__BASE_URL=judge.base_url) as served:
            env = _env(folder, served.base_url)
            for client in _chosen(names):
                is_green &= _try(client, cache / client.name, env, served.base_url)
    return 0 if is_green else 1


def _chosen(names: Sequence[str]) -> Iterable[Client]:
    return [client for client in CLIENTS if not names or client.name in names]


def _env(folder: Path, base_url: str) -> dict[str, str]:
    home = folder / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PROMPTFOO_CONFIG_DIR": str(home / "promptfoo"),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "any",
        **QUIET,
    }


def _try(client: Client, folder: Path, env: Mapping[str, str], base_url: str) -> bool:
    """Run one and say how it went; one that cannot be tried is not red."""
    shown = " ".join(client.requirements)
    began_at = time.monotonic()
    try:
        _prepare(client, folder)
        _call(client.command(folder, base_url), cwd=folder, env=env, limit_s=LIMIT_S)
    except Missing as exc:
        print(f"missing  {shown}: {exc}", flush=True)
    except subprocess.SubprocessError as exc:
        print(f"red      {shown}: {_end_of(exc)}", flush=True)
        return False
    else:
        print(f"green    {shown}, {time.monotonic() - began_at:.0f} s", flush=True)
    return True


def _prepare(client: Client, folder: Path) -> None:
    """Install it unless exactly this is there."""
    stamp, wanted = folder / "installed", "\n".join(client.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    client.install(folder)
    stamp.write_text(wanted)


def _call(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit_s: float = INSTALL_LIMIT_S,
) -> None:
    subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=limit_s, check=True,
    )  # fmt: skip


def _end_of(exc: subprocess.SubprocessError) -> str:
    if isinstance(exc, subprocess.TimeoutExpired):
        return f"it did not end within {exc.timeout:.0f} s"
    said = exc.output if isinstance(exc, subprocess.CalledProcessError) else ""
    return "\n         ".join(["", *str(said).strip().splitlines()[-15:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
