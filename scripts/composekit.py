"""What `scripts/lab-smoke` and `scripts/lab-demo` share: the compose lab and the ways to ask it.

All of it goes through `docker`, as a person would: what a container can reach, only that container
can ask.
"""

import json
import os
import pathlib
import re
import subprocess

from labkit import Failed, check, until

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "higuma")
NET = os.environ.get("HIGUMA_NET", "172.30")
GLOBALS = ["global-1", "global-2", "global-3"]
# No command takes longer; one that hangs is a failed one.
COMMAND_TIMEOUT_S = 120
# A call between containers that is not answered by then is not answered.
CALL_TIMEOUT_S = 5


def docker(*words, stdin=None, exit_code=0):
    """Runs docker, and checks its exit code unless that is None. Returns what it printed."""
    words = ["docker", *(str(word) for word in words)]
    done = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    check(
        exit_code is None or done.returncode == exit_code,
        f"`{' '.join(words)}` ends with exit code {exit_code}",
        f"exit code {done.returncode}\n{done.stdout}{done.stderr}",
    )
    return done.stdout if exit_code == 0 else done.stdout + done.stderr


def container(service):
    return f"{PROJECT}-{service}-1"


def inside(service, *words, **options):
    """Runs a command in a service's container."""
    flags = ["-i"] if options.get("stdin") is not None else []
    return docker("exec", *flags, container(service), *words, **options)


def curl(service, url, *flags):
    """Status and body of a GET from a service's container; status 0 is no answer."""
    output = inside(
        service,
        *("curl", "--silent", "--max-time", CALL_TIMEOUT_S, "--write-out", "\n%{http_code}"),
        *flags,
        url,
        exit_code=None,
    )
    body, _, status = output.rpartition("\n")
    try:
        return int(status), json.loads(body or "null")
    except ValueError:
        return int(status) if status.isdigit() else 0, body


def answers(service, url, count):
    """Which instances answer a number of calls, each over a connection of its own."""
    seen = {}
    for _ in range(count):
        status, body = curl(service, url)
        check(status == 200, f"200 from {url} in {service}", (status, body))
        seen[body["instance"]] = seen.get(body["instance"], 0) + 1
    return seen


def connects(service, address, port):
    """Whether a container can open a TCP connection. No answer within 2 s is none."""
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    done = subprocess.run(
        ["docker", "exec", container(service), "timeout", "2", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    # 0 open, 1 refused, 124 no answer: all else is not an answer to this question.
    check(done.returncode in (0, 1, 124), "bash opens a connection or says why not", done)
    return done.returncode == 0


def higuma(node, *words, stdin=None, exit_code=0):
    """The operator's command, in the container of a global."""
    return inside(node, "higuma", *words, stdin=stdin, exit_code=exit_code)


def inspect(node, what):
    return json.loads(higuma(node, "inspect", what, "-o", "json"))


def apply(node, manifest):
    """Applies a manifest through a global and returns the version of its last write."""
    output = higuma(node, "apply", "-f", "-", stdin=manifest)
    versions = re.findall(r"version (\d+)", output)
    check(versions, "the version of each write", output)
    return int(versions[-1])


def healthy(service, limit_s):
    """Waits until docker calls a container healthy; returns how long that took."""
    state = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
    _, took = until(
        f"{service} is healthy",
        limit_s,
        lambda: docker("inspect", "--format", state, container(service)).strip(),
        lambda seen: seen == "running healthy",
        0.2,
    )
    return took


def left_over():
    """Containers, networks and volumes of the project."""
    label = f"label=com.docker.compose.project={PROJECT}"
    parts = []
    for command in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        parts += docker(*command, "--quiet", "--filter", label).split()
    return parts


__all__ = [
    "CALL_TIMEOUT_S",
    "GLOBALS",
    "NET",
    "PROJECT",
    "ROOT",
    "Failed",
    "answers",
    "apply",
    "connects",
    "container",
    "curl",
    "docker",
    "healthy",
    "higuma",
    "inside",
    "inspect",
    "left_over",
]
