"""What `scripts/lab-smoke` and `scripts/lab-demo` share: the compose lab and the ways to ask it.

All of it goes through `docker`, as a person would: what a container can reach, only that container
can ask.
"""

import json
import os
import pathlib
import re
import subprocess
import threading
import time

from labkit import Failed, check, figure, until

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "higuma")
NET = os.environ.get("HIGUMA_NET", "172.30")
GLOBALS = ["global-1", "global-2", "global-3"]
# No command takes longer; one that hangs is a failed one.
COMMAND_TIMEOUT_S = 120
# A call between containers that is not answered by then is not answered.
CALL_TIMEOUT_S = 5
CLIENT = (ROOT / "scripts" / "http-client.bash").read_text(encoding="utf-8")


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


def compose(*words, exit_code=0):
    return docker("compose", "--ansi", "never", "--project-name", PROJECT, *words, exit_code=exit_code)


def show(node, *words):
    """Runs the operator's command and prints it with its result."""
    print(f"    $ docker compose exec {node} higuma {' '.join(words)}")
    for line in higuma(node, *words).rstrip().splitlines():
        print(f"      {line}", flush=True)


def running(service):
    output = docker("inspect", "--format", "{{.State.Running}}", container(service), exit_code=None)
    check("connect to the Docker daemon" not in output, "a Docker daemon", output.strip())
    return output.strip() == "true"


def request(service, method, address, port, path, body=""):
    """One request from inside a container: status and body. Status 0 is no answer."""
    words = ("bash", "-c", CLIENT, "http", "one", method, address, port, path, body)
    return parsed(inside(service, *words, exit_code=None))


def get(service, address, port, path):
    return request(service, "GET", address, port, path)


def parsed(line):
    """What the client prints: status and body."""
    status, _, body = line.partition(" ")
    try:
        return int(status), json.loads(body)
    except ValueError:
        return int(status) if status.isdigit() else 0, body.strip() or line.strip()


def client(outbound, *mode):
    """The client in a container, to be fed and read."""
    service, address, port = outbound
    words = ["docker", "exec", "-i", container(service), "bash", "-c", CLIENT, "http"]
    return subprocess.Popen(
        [*words, *mode, address, str(port), "/"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Ctrl-C is for the story, which ends its clients itself.
        start_new_session=True,
    )


class Ask:
    """Requests over one connection, which is not opened again when it ends."""

    def __init__(self, outbound):
        self.outbound = outbound

    def __enter__(self):
        self.process = client(self.outbound, "ask")
        return self

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return parsed(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(CALL_TIMEOUT_S * 2)


class Load:
    """Steady requests over outbounds: half over connections that stay open, half over new ones."""

    def __init__(self, routes):
        self.routes = routes
        self.lock = threading.Lock()
        self.counts, self.failures = {}, []

    def __enter__(self):
        self.started = time.monotonic()
        self.clients, self.readers = [], []
        for name, outbound in self.routes.items():
            for kind in ("open", "new"):
                process = client(outbound, "load", kind)
                reader = threading.Thread(target=self.read, args=(name, kind, process), daemon=True)
                reader.start()
                self.clients.append(process)
                self.readers.append(reader)
        # A step is not to break what is not flowing yet.
        until(
            "an answer on every route",
            CALL_TIMEOUT_S * 4,
            lambda: {name for name, _ in self.counts},
            lambda seen: len(seen) == len(self.routes),
        )
        return self

    def read(self, name, kind, process):
        for line in process.stdout:
            status, body = parsed(line)
            with self.lock:
                if status == 200 and isinstance(body, dict):
                    key = (name, body["instance"])
                    self.counts[key] = self.counts.get(key, 0) + 1
                else:
                    at = time.monotonic() - self.started
                    self.failures.append((status, f"{name} after {at:.2f} s, {kind} connection: {line.strip()}"))

    def answered(self, name, instance):
        with self.lock:
            return self.counts.get((name, instance), 0)

    def __exit__(self, *_):
        for process in self.clients:
            process.stdin.close()
        for process in self.clients:
            process.wait(CALL_TIMEOUT_S * 2)
        for reader in self.readers:
            reader.join()

    def verdict(self, allowed=()):
        """Prints what was counted; a failed request, but with an allowed status, fails the step."""
        for name in self.routes:
            by = sorted((instance, count) for (route, instance), count in self.counts.items() if route == name)
            shown = ", ".join(f"{instance} {count}" for instance, count in by)
            figure(f"requests {name}", f"{sum(count for _, count in by)} ({shown})")
        for status in allowed:
            count = sum(status == failed for failed, _ in self.failures)
            figure(f"requests answered by {status}, as asked for", count)
        failed = [text for status, text in self.failures if status not in allowed]
        figure("requests that failed", len(failed))
        first = "\n          ".join(failed[:10])
        check(not failed, "no request fails", f"{len(failed)}:\n          {first}")


def unlinked(network, service):
    """Takes a container off a network; returns the address that it had there."""
    template = f'{{{{(index .NetworkSettings.Networks "{PROJECT}_{network}").IPAddress}}}}'
    address = docker("inspect", "--format", template, container(service)).strip()
    docker("network", "disconnect", f"{PROJECT}_{network}", container(service))
    return address


def link(network, service, address):
    """Puts it back, as compose did."""
    docker(
        *("network", "connect", "--ip", address, "--alias", service),
        f"{PROJECT}_{network}",
        container(service),
    )


def left_over():
    """Containers, networks and volumes of the project."""
    label = f"label=com.docker.compose.project={PROJECT}"
    parts = []
    for command in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        parts += docker(*command, "--quiet", "--filter", label).split()
    return parts
