"""A cluster's machines: every node in a network namespace of its own, on a bridge in ours.

A node can be killed, frozen out of the network, restarted on its disk. Needs root, iproute2 and
util-linux; `main` re-executes the script in a new namespace, so that nothing of the host's network is seen
or changed.
"""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

HTTP, GRPC, OTLP_GRPC, OTLP_HTTP = 7800, 7801, 4317, 4318
LINKS = itertools.count()


def in_namespace():
    """Goes on in a network namespace of this script's own; returns there."""
    if os.environ.get("CHAOS_NAMESPACE") == "1":
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "hub", "type", "bridge")
        run("ip", "addr", "add", "10.77.0.1/24", "dev", "hub")
        run("ip", "link", "set", "hub", "up")
        return
    os.environ["CHAOS_NAMESPACE"] = "1"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.execvp("unshare", ["unshare", *as_root, "--net", "--", sys.executable, *sys.argv])


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class S3:
    """The testkit's S3 server on the bridge, where all nodes reach it; with faults on demand."""

    def __init__(self, binary, directory, seed):
        command = [str(binary), "10.77.0.1:9000", str(directory), str(seed)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        where = json.loads(self.process.stdout.readline())
        self.object_store, self.environment = where["object_store"], where["env"]
        self.flags = ["--s3-endpoint", where["endpoint"]]

    def faults(self, mix):
        """`weather` (a few requests of a hundred fail), `outage` or `clear`."""
        self.process.stdin.write(f"{mix}\n")
        self.process.stdin.flush()

    def close(self):
        """Ends the server: how often each fault struck."""
        struck, _ = self.process.communicate()
        return struck.strip()


class Directory:
    """A directory that all nodes share."""

    environment, flags = {}, []

    def __init__(self, directory):
        directory.mkdir(parents=True)
        self.object_store = f"file://{directory}"

    def faults(self, mix):
        """A directory has none."""

    def close(self):
        return ""


class Node:
    """One process of the cluster, its disk and its address."""

    def __init__(self, cluster, number, name, target, zone):
        self.cluster, self.name, self.target, self.zone = cluster, name, target, zone
        self.ip = f"10.77.0.{10 + number}"
        # Never used again: the kernel takes a moment to remove those of a cluster before.
        self.link = f"v{next(LINKS)}"
        self.process = None
        self.starts = 0
        # Keeps the namespace, and with it the machine's network, while no process runs there.
        self.machine = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        self.enter = ["nsenter", "--target", str(self.machine.pid), "--net", "--"]
        self._connect()

    @property
    def advertise(self):
        return f"{self.ip}:{GRPC}"

    def _connect(self):
        pid = str(self.machine.pid)
        hub = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pid}/ns/net") == hub:
            time.sleep(0.005)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "link", "set", self.link, "master", "hub", "up")
        run(*self.enter, "ip", "link", "set", "lo", "up")
        run(*self.enter, "ip", "addr", "add", f"{self.ip}/24", "dev", "eth0")
        run(*self.enter, "ip", "link", "set", "eth0", "up")

    def start(self, *flags):
        """Starts the process; the disk stays from start to start."""
        directory = self.cluster.directory / self.name
        directory.mkdir(exist_ok=True)
        self.starts += 1
        command = [
            str(self.cluster.binary), "serve", "--node-name", self.name, "--target", self.target, "--zone", self.zone,
            "--data-dir", str(directory / "data"), "--advertise", self.advertise,
            "--object-store", self.cluster.store.object_store, *self.cluster.store.flags, *self.cluster.flags(self), *flags,
        ]
        log = open(directory / "log", "ab")
        log.write(f"--- start {self.starts}\n".encode())
        log.flush()
        self.process = subprocess.Popen(
            [*self.enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.cluster.environment,
            start_new_session=True,
        )
        return self

    def kill(self):
        """kill -9 of the process; its machine stays, and refuses connections."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def cut(self):
        """Takes the node off the network. It runs on and sees nobody."""
        run("ip", "link", "set", self.link, "down")

    def heal(self):
        run("ip", "link", "set", self.link, "up")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def url(self, path, port=HTTP):
        return f"http://{self.ip}:{port}{path}"

    def ready(self):
        try:
            with urllib.request.urlopen(self.url("/ready"), timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait_ready(self, timeout=60):
        until(self.ready, timeout, f"{self.name} to be ready", lambda: self.running() or self.fail())

    def fail(self):
        raise SystemExit(f"{self.name} ended by itself with {self.process.returncode}: see {self.cluster.directory}/{self.name}/log")


def until(condition, timeout, what, check=lambda: None):
    """Waits for a condition of another process, which nothing announces."""
    deadline = time.monotonic() + timeout
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {timeout} s for {what}")
        time.sleep(0.05)


class Cluster:
    """Three of meta and ingesters in three zones, two distributors, two queriers; more on demand."""

    SHAPE = [("m", "meta", 3), ("i", "ingester", 3), ("d", "distributor", 2), ("q", "querier", 2)]

    def __init__(self, binary, directory, environment, shape=None, s3=None, seed=0):
        """On the S3 server whose binary is `s3`, or without one on a directory."""
        self.binary, self.directory = pathlib.Path(binary).resolve(), pathlib.Path(directory).resolve()
        objects = self.directory / "objects"
        self.store = S3(pathlib.Path(s3).resolve(), objects, seed) if s3 else Directory(objects)
        self.environment = {**os.environ, **self.store.environment, **environment}
        self.nodes, self.all = {}, []
        for kind, target, count in shape or self.SHAPE:
            for n in range(count):
                self.add(f"{kind}{n}", target, f"zone-{n}")

    def add(self, name, target, zone):
        node = Node(self, len(self.all), name, target, zone)
        self.all.append(node)
        self.nodes[name] = node
        return node

    def flags(self, node):
        metas = ",".join(n.advertise for n in self.nodes.values() if n.target == "meta")
        return ["--meta-peers", metas] if node.target == "meta" else ["--join", metas]

    def start(self):
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_ready()

    def of(self, target):
        return [n for n in self.nodes.values() if n.target == target]

    def close(self):
        for node in self.all:
            if node.running():
                node.kill()
            node.machine.kill()
            node.machine.wait()
        return self.store.close()
