"""Runs programs in processes of their own. A program that fails fails its test, with its output."""

import os
import subprocess
import sys
from pathlib import Path

PYTHON_CLIENT = Path(__file__).parents[3] / "scripts" / "python-client.sh"


def run(program: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a Python program."""
    return run_command([sys.executable, "-c", program, *arguments], timeout=timeout)


def run_command(command, *, timeout: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, with these environment variables beside those of the tests."""
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{late}\n{_text(late.stdout)}{_text(late.stderr)}") from None
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def python_of(requirements: str) -> Path:
    """The Python of an environment with the libraries of a requirements file. Makes the environment if it is missing."""
    made = run_command([PYTHON_CLIENT, requirements], timeout=1800)
    return Path(made.stdout.strip()) / "bin" / "python"


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
