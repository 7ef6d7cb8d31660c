"""What `scripts/demo` and `scripts/bench-lab` share: a lab and the ways to ask it.

A lab is used as a person would use it: through the binary, through HTTP, and through Envoys.
"""

import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HIGUMA = os.environ.get("HIGUMA", str(TARGET / "debug" / "higuma"))
BASE = os.environ.get("BASE", "127.77")
# A node that is not there refuses at once; one that hangs must not hold the story up.
CALL_TIMEOUT_S = 5
# No command takes longer; one that hangs is a failed one.
COMMAND_TIMEOUT_S = 120
# From a write to the last Envoy: milliseconds; a machine that is busy gets much slack.
CONVERGE_LIMIT_S = 30

GLOBALS = ["global-1", "global-2", "global-3"]
REMOTES = {"east": f"{BASE}.1.1", "west": f"{BASE}.2.1"}
INGRESSES = {"east": f"{BASE}.1.2", "west": f"{BASE}.2.2"}
# Workloads by address; each has its application on 8080 and its Envoy's admin on 9901.
WORKLOADS = {
    "web": f"{BASE}.1.10",
    "backend-v1": f"{BASE}.1.11",
    "backend-v2": f"{BASE}.2.11",
    "billing": f"{BASE}.2.12",
    "billing-2": f"{BASE}.2.13",
}
# Outbounds: where the application of a workload finds another service.
WEB_TO_BACKEND = (WORKLOADS["web"], 10001)
WEB_TO_BILLING = (WORKLOADS["web"], 10002)
BILLING_TO_BACKEND = (WORKLOADS["billing"], 10001)

MESH = """\
type: Mesh
name: default
mtls:
  enabledBackend: ca-1
  backends:
  - name: ca-1
    type: builtin
"""

TYPING_ERROR = """\
type: Mesh
name: default
mtls:
  enabledBackend: ca-1
  backends:
  - name: ca-1
    typ: builtin
"""


def permission(destination):
    """The one TrafficPermission: everybody may call `destination`."""
    return f"""\
type: TrafficPermission
mesh: default
name: who-may-call
sources:
- match: {{kuma.io/service: '*'}}
destinations:
- match: {{kuma.io/service: '{destination}'}}
"""


def route(tag, first, second):
    """A split of backend by a tag, values with weights."""
    split = "".join(
        f"  - weight: {weight}\n    destination: {{kuma.io/service: backend, {tag}: {value}}}\n"
        for value, weight in (first, second)
    )
    return f"""\
type: TrafficRoute
mesh: default
name: backend
sources:
- match: {{kuma.io/service: '*'}}
destinations:
- match: {{kuma.io/service: backend}}
conf:
  split:
{split}"""


class Failed(Exception):
    """A check that did not hold."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


def check(held, expected, seen):
    if not held:
        raise Failed(f"expected: {expected}\n    seen: {seen}")


def figure(name, value):
    print(f"    {name:<52} {value}", flush=True)


def seconds(value):
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def interruptible():
    """Ctrl-C and SIGTERM become Interrupted, once: the clean-up is not to be interrupted."""

    def interrupted(number, _frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)


class Lab:
    """A lab in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.servers = [f"{BASE}.0.{n}:5681" for n in (1, 2, 3)]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HIGUMA_") or name in ("HIGUMA_LOG", "HIGUMA_ENVOY")
        }
        self.environment["HIGUMA_SERVER"] = ",".join(self.servers)
        self.environment.setdefault("HIGUMA_ENVOY", str(ROOT / ".tools/envoy-1.40.0/envoy"))

    def higuma(self, *words, stdin=None, exit_code=0, show=True):
        """Runs the binary, prints command and result, and checks the exit code."""
        words = [str(word) for word in words]
        done = subprocess.run(
            [HIGUMA, *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        output = done.stdout + done.stderr
        if show:
            lab = ["--dir", str(self.folder)]
            shown = " ".join(words[:1] + words[3:] if words[1:3] == lab else words)
            print(f"    $ higuma {shown}")
            for line in output.rstrip().splitlines():
                print(f"      {line}", flush=True)
        check(
            done.returncode == exit_code,
            f"`higuma {' '.join(words)}` ends with exit code {exit_code}",
            f"exit code {done.returncode}\n{output}",
        )
        return done.stdout, done.stderr

    def lab(self, *words, **options):
        return self.higuma("lab", "--dir", self.folder, *words, **options)

    def apply(self, manifest, show=True):
        """Applies a manifest and returns the version of its last write."""
        out, _ = self.higuma("apply", "-f", "-", stdin=manifest, show=show)
        versions = re.findall(r"version (\d+)", out)
        check(versions, "the version of each write", out)
        return int(versions[-1])

    def cluster(self):
        return json.loads(self.higuma("inspect", "cluster", "-o", "json", show=False)[0])

    def member(self, node):
        members = self.cluster()["members"]
        return next(member for member in members if member["id"] == node)

    def inspect(self, what):
        out, _ = self.higuma("inspect", what, "-o", "json", show=False)
        return json.loads(out)["items"]

    def progress(self):
        """What all proxies of each zone run, by whichever global knows it best."""
        zones = {}
        for server in self.servers:
            status, _, answer = call("GET", server, "/_progress")
            if status == 200:
                for zone, progress in answer["zones"].items():
                    if zone not in zones or progress["ageMs"] < zones[zone]["ageMs"]:
                        zones[zone] = progress
        return zones

    def converged(self, version, zones=("east", "west")):
        """Waits until every Envoy has confirmed a version; returns how long that took."""

        def there(progress):
            return all(progress.get(zone, {}).get("version", 0) >= version for zone in zones)

        _, took = until(
            f"every Envoy runs version {version}", CONVERGE_LIMIT_S, self.progress, there, 0.005
        )
        return took

    def log(self, process, offset=0):
        """The log lines of a process, from an offset; what is no JSON is left out."""
        with open(self.folder / "logs" / f"{process}.log", "rb") as file:
            file.seek(offset)
            for line in file.read().splitlines():
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def log_size(self, process):
        return (self.folder / "logs" / f"{process}.log").stat().st_size

    def down(self):
        if (self.folder / "state.json").exists():
            # Not to be interrupted: what is left would be left for good.
            subprocess.run(
                [HIGUMA, "lab", "--dir", str(self.folder), "down"],
                env=self.environment,
                stdout=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_S,
                check=True,
                start_new_session=True,
            )


def call(method, server, path, body=None, headers=None):
    """One HTTP call: status, headers, parsed body. Status 0 is no answer."""
    request = urllib.request.Request(
        f"http://{server}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=CALL_TIMEOUT_S) as answer:
            return answer.status, answer.headers, parsed(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, parsed(error.read())
    except OSError as error:
        return 0, {}, str(error)


def parsed(text):
    try:
        return json.loads(text or b"null")
    except ValueError:
        return text.decode(errors="replace")


def until(what, limit_s, probe, wanted, pause_s=0.02):
    """Asks until the answer is wanted; returns it and how long that took."""
    started = time.monotonic()
    while True:
        seen = probe()
        took = time.monotonic() - started
        if wanted(seen):
            return seen, took
        check(took < limit_s, f"{what} within {limit_s} s", seen)
        time.sleep(pause_s)


def envoy_stats(address, pattern):
    """Counters and gauges of an Envoy, by name."""
    status, _, answer = call("GET", f"{address}:9901", f"/stats?format=json&filter={pattern}")
    check(status == 200, f"Envoy at {address} answers on its admin port", (status, answer))
    return {stat["name"]: stat["value"] for stat in answer["stats"] if "value" in stat}


def envoy_uptime_s(address):
    status, _, answer = call("GET", f"{address}:9901", "/server_info")
    check(status == 200, f"Envoy at {address} answers on its admin port", (status, answer))
    return int(answer["uptime_all_epochs"].rstrip("s"))


class Connection:
    """One HTTP connection through an outbound, kept open."""

    def __init__(self, outbound):
        self.http = http.client.HTTPConnection(*outbound, timeout=CALL_TIMEOUT_S)

    def get(self, path="/"):
        """Status and body."""
        self.http.request("GET", path)
        answer = self.http.getresponse()
        return answer.status, parsed(answer.read())

    def local_port(self):
        """Tells one connection from the next: the client reconnects by itself."""
        return self.http.sock.getsockname()[1] if self.http.sock else None

    def close(self):
        self.http.close()


class Load:
    """Steady requests through outbounds: on each one half over connections that stay open, the
    other half over new ones. Every request that is not answered by 200 is a failure."""

    # A request each 20 ms and thread: what a busy laptop does beside everything else.
    PAUSE_S = 0.02

    def __init__(self, routes, callers=2):
        """`callers` of each route, every second one over a connection that stays open."""
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.counts, self.instances, self.failures = {}, {}, []
        self.threads = [
            threading.Thread(target=self.run, args=(name, outbound, keep), daemon=True)
            for name, outbound in routes.items()
            for keep in [True, False] * (callers // 2)
        ]

    def __enter__(self):
        self.started = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def run(self, name, outbound, keep):
        connection = Connection(outbound)
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                status, body = connection.get()
            except (OSError, http.client.HTTPException) as error:
                status, body = 0, repr(error)
                connection.close()
            if not keep:
                connection.close()
            self.count(name, keep, begun, status, body)
            self.stopped.wait(self.PAUSE_S)
        connection.close()

    def count(self, name, keep, begun, status, body):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            if status == 200 and isinstance(body, dict):
                key = (name, body["instance"])
                self.instances[key] = self.instances.get(key, 0) + 1
            else:
                at, took = begun - self.started, time.monotonic() - begun
                kind = "open" if keep else "new"
                self.failures.append(
                    f"{name} after {at:.2f} s, {kind} connection, took {took:.2f} s: "
                    f"{status} {str(body)[:200]}"
                )

    def answered(self, name, instance):
        with self.lock:
            return self.instances.get((name, instance), 0)

    def verdict(self):
        """Prints what was counted; a failed request fails the step."""
        with self.lock:
            for name, count in sorted(self.counts.items()):
                by = sorted((i, n) for (route, i), n in self.instances.items() if route == name)
                shown = ", ".join(f"{instance} {n}" for instance, n in by)
                figure(f"requests {name}", f"{count} (answered by {shown})")
            figure("requests that failed", len(self.failures))
            first = "\n          ".join(self.failures[:10])
            check(not self.failures, "no request fails", f"{len(self.failures)}:\n          {first}")


def dns_query(server, name, kind=1, timeout_s=2):
    """One UDP query (RFC 1035): response code, and the addresses of an A query."""
    number = random.getrandbits(16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout_s)
        udp.connect((server, 5653))
        udp.send(query)
        answer = udp.recv(4096)
    check(len(answer) >= 12, "a DNS message", answer)
    answered, flags, _, records = struct.unpack("!4H", answer[:8])
    check(answered == number and flags & 0x8000, "the answer to the query", answer)
    at, addresses = len(query), []
    for _ in range(records):
        # The name: a pointer, or labels.
        while answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] >= 0xC0 else 1
        of, _, _, length = struct.unpack("!HHIH", answer[at : at + 10])
        at += 10
        if of == 1 and length == 4:
            addresses.append(socket.inet_ntoa(answer[at : at + 4]))
        at += length
    return flags & 0xF, addresses
