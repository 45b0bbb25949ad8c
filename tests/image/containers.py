"""buildah and podman without a daemon or systemd: a store that goes with the test, and commands in it."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.deploy.programs import ROOT

TOOLS = ("buildah", "podman", "debootstrap", "runc")
RELEASE = "trixie"  # any Debian whose Python is new enough
BASE = "localhost/calbus-test-base"
IMAGE = "localhost/calbus:latest"
SIMULATOR_IMAGE = "localhost/calbus-simulator:latest"
RUNTIME = "runc"
FILES_MAX = 4_096
SAID_MAX_CHARS = 4_000
PIP_OPTIONS = ("index-url", "extra-index-url", "cert", "proxy", "timeout", "trusted-host")
CERTIFICATES = "/etc/ssl/certs"


def require_tools() -> None:
    """Fails, and never skips, where the image cannot be built: whoever runs this has asked for it."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.fail(
            f"{', '.join(missing)} missing, so no image can be built. On Debian: "
            f"apt-get install --no-install-recommends {' '.join(TOOLS)}"
        )
    if os.geteuid() != 0:
        pytest.fail("debootstrap, and building without a user namespace, need root: run `make test-image` as root")


class Store:
    """Images and containers in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        configuration = directory / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/images"\nrunroot = "{directory}/run"\n'
        )
        self.environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(configuration),
            "BUILDAH_ISOLATION": "chroot",
            "BUILDAH_RUNTIME": RUNTIME,
        }

    def run(self, *command: str | Path, **variables: str) -> str:
        """What it prints; fails with what it complains of."""
        done = subprocess.run(
            command, env={**self.environment, **variables}, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(
                f"{command[0]} {command[1]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4_000:]}"
            )
        return done.stdout

    def podman(self, *arguments: str) -> str:
        """A podman command."""
        return self.run("podman", f"--runtime={RUNTIME}", *arguments)

    def inspect(self, image: str) -> dict[str, Any]:
        """What there is to know of an image."""
        (about,) = orjson.loads(self.podman("image", "inspect", image))
        assert isinstance(about, dict)
        return about

    def make_base(self) -> None:
        """A Debian with Python, as the image that the Dockerfile stands on."""
        tree = self.directory / "base"
        python = "--include=python3,python3-venv,ca-certificates"
        self.run("debootstrap", "--variant=minbase", python, RELEASE, tree)
        container = self.run("buildah", "from", "scratch").strip()
        self.run("buildah", "add", "--quiet", container, tree, "/")
        self.run("buildah", "commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(tree)

    def build(self, target: str) -> None:
        """`make image` of one target, on that base, with this machine's own ways to packages."""
        pip = self.directory / "pip.conf"
        pip.write_text(_pip_configuration())
        arguments = f"--layers=false --secret id=pip.conf,src={pip} --volume {CERTIFICATES}:{CERTIFICATES}:ro"
        self.run("make", "image", ENGINE="buildah", BASE=BASE, BUILD_ARGS=arguments, TARGETS=target)

    @asynccontextmanager
    async def container(
        self, name: str, *arguments: str, user: str, variables: Mapping[str, str]
    ) -> AsyncIterator[str]:
        """A container with no rights at all, in this machine's network; killed at the end if it is still there."""
        file = self.directory / f"{name}.env"
        file.write_text("".join(f"{key}={value}\n" for key, value in variables.items()))
        restrictions = [
            f"--user={user}",
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
        ]
        surroundings = [
            "--network=host",
            f"--env-file={file}",
            # Without systemd nobody calls the check in turn: the test does. Limits above the machine's own are refused.
            "--no-healthcheck",
            f"--ulimit=nofile={FILES_MAX}:{FILES_MAX}",
            f"--ulimit=nproc={FILES_MAX}:{FILES_MAX}",
        ]
        await asyncio.to_thread(
            self.podman, "run", "--detach", f"--name={name}", *restrictions, *surroundings, *arguments
        )
        try:
            yield name
        finally:
            await asyncio.to_thread(self.podman, "rm", "--force", "--time=0", name)


def _pip_configuration() -> str:
    """What pip is told here by files and variables, for the pip inside: `key='value'` lines become a file."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")
    return "[global]\n" + "".join(f"{key} = {settings[key]}\n" for key in PIP_OPTIONS if key in settings)


@contextmanager
def store() -> Iterator[Store]:
    """A store that leaves nothing behind."""
    directory = Path(tempfile.mkdtemp(prefix="calbus-image-", dir="/var/tmp"))
    made = Store(directory)
    try:
        yield made
    finally:
        subprocess.run(
            ["podman", "rm", "--all", "--force", "--time=0"], env=made.environment, capture_output=True, check=False
        )
        shutil.rmtree(directory)
