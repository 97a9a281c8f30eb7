"""The chart in helm/, rendered by a real Helm (of a wheel, or on the PATH) and held against Kubernetes' schemas.

No cluster is asked. What a chart means for the shop is: commands that there are, settings that there are, metrics that
there are.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-not-found]
import pytest
import yaml
from click.testing import CliRunner
from commerce_realtime.meters import Meters
from support.production import ROOT, required

from commerce_core.cli.main import main
from commerce_core.metrics import Metrics
from commerce_core.settings import parse_settings
from commerce_core.wsgi import STOP_SECONDS

CHART = ROOT / "helm"
SETS = sorted(path.stem for path in (CHART / "values").glob("*.yaml"))
# Of Prometheus' operator: Kubernetes itself does not know them.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
KUBERNETES = "1.34"
SECRETS = {
    "sqlalchemy.url": {"secret": "shop-database", "key": "url"},
    "metrics.token": {"secret": "shop", "key": "metrics"},
}
EVERYTHING = {
    "secretSettings": SECRETS,
    "ingress": {"enabled": True, "host": "shop.example", "tlsSecret": "shop-tls", "realtimeApi": True},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
}
Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


@pytest.fixture(scope="session")
def helm() -> str:
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("there is no wheel with Helm for this machine, and none on the PATH")
    return found


@pytest.fixture(scope="session")
def template(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`template("medium", {"web": ...})`: what Helm says to a set of values and to more of them."""

    @functools.cache
    def template_once(name: str | None, more: str) -> subprocess.CompletedProcess[str]:
        sets = [] if name is None else ["-f", str(CHART / "values" / f"{name}.yaml")]
        command = [helm, "template", "shop", str(CHART), "--namespace", "shop", *sets, "-f", "-"]
        return subprocess.run(command, input=more, capture_output=True, text=True, check=False)

    return lambda name, more=None: template_once(name, json.dumps(more or {}))


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    def render(name: str | None, more: Any = None) -> Objects:
        done = template(name, more)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]

    return render


def of_kind(objects: Objects, *kinds: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pods' specs by the name of what makes them, without those of a trial's database."""
    return {
        name: each["spec"]["template"]["spec"]
        for name, each in of_kind(objects, "Deployment", "StatefulSet", "Job").items()
        if not name.endswith(("-postgresql", "-redis"))
    }


def containers(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods(objects).items():
        for container in pod["containers"]:
            yield name, container


def settings_of(objects: Objects) -> dict[str, str]:
    data: dict[str, str] = of_kind(objects, "ConfigMap")["shop"]["data"]
    return data


# --- All of it ---


@pytest.mark.parametrize("more", [{"secretSettings": SECRETS}, EVERYTHING], ids=["as it is", "everything on"])
@pytest.mark.parametrize("name", SETS)
def test_every_set_of_values_makes_what_kubernetes_knows(name: str, more: Any, render: Render) -> None:
    objects = render(name, more)
    for each in objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def test_helm_finds_nothing_to_complain_about(helm: str) -> None:
    for name in SETS:
        command = [helm, "lint", "--strict", str(CHART), "-f", str(CHART / "values" / f"{name}.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"web": {"replica": 3}}, "replica"),
        ({"web": {"replicas": "many"}}, "replicas"),
        ({"workers": {"urgent": {"replicas": 1, "processes": 1, "queues": "urgent"}}}, "queues"),
        ({"secretSettings": {"sqlalchemy.url": "postgresql://in-the-values"}}, "secretSettings"),
        ({"settings": {"hold_seconds": 3}}, "hold_seconds"),
        ({"settings": {"realtime.port": 7000}}, "realtime.port"),
        ({"settings": {"realtime.drain_seconds": 600}}, "realtime.drain_seconds"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
    ],
)
def test_values_that_are_wrong_are_refused(
    values: Any, said: str, template: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = template(None, values)
    assert done.returncode != 0
    assert said in done.stderr


# --- What it means for the shop ---


@pytest.mark.parametrize("name", SETS)
def test_pods_run_commands_that_there_are(name: str, render: Render) -> None:
    """The command line takes every argument as it stands; only running it is left out."""
    for pod, container in containers(render(name, EVERYTHING)):
        assert "command" not in container, "the image begins with commerce"
        arguments = [str(ROOT / "development.ini") if each.endswith(".ini") else each for each in container["args"]]
        done = CliRunner().invoke(main, [*arguments, "--help"])
        assert done.exit_code == 0, (pod, done.output)
        known = set(re.findall(r"--[a-z-]+", done.output))
        assert {each for each in arguments if each.startswith("--")} <= known, pod


@pytest.mark.parametrize("name", SETS)
def test_pods_are_given_settings_that_there_are(name: str, render: Render) -> None:
    objects = render(name, EVERYTHING)
    given = settings_of(objects)
    assert of_kind(objects, "ConfigMap")["shop-migration"]["data"] == given
    plugins = "stripe search realtime pricing"
    raw = {"commerce.plugins": plugins, "log.level": "info"}
    parse_settings(raw, environ={**required("postgresql://db/shop"), "COMMERCE_MAIL__TRANSPORT": "smtp", **given})
    for _, container in containers(objects):
        names = {each["name"] for each in container["env"]}
        assert {"COMMERCE_SQLALCHEMY__URL", "COMMERCE_METRICS__TOKEN"} <= names


def test_no_secret_is_in_what_is_not_a_secret(render: Render) -> None:
    objects = render("trial")
    [secret] = of_kind(objects, "Secret").values()
    password = secret["stringData"]["password"]
    assert len(password) == 32
    assert all(password not in json.dumps(each) for each in objects if each["kind"] != "Secret")
    assert of_kind(render("medium", EVERYTHING), "Secret") == {}


class _Cluster(BaseHTTPRequestHandler):
    """As much of Kubernetes' API as Helm asks for a Secret; all have one version."""

    version = "1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answers: dict[str, Any] = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [{"name": "secrets", "kind": "Secret", "namespaced": True, "verbs": ["get"]}],
            },
        }
        if path.startswith("/api/v1/namespaces/shop/secrets/"):
            metadata = {
                "name": path.rpartition("/")[2],
                "namespace": "shop",
                "uid": "1",
                "resourceVersion": self.version,
            }
            answers[path] = {
                "kind": "Secret",
                "apiVersion": "v1",
                "metadata": metadata,
                "data": {"url": "aHVudGVyMg=="},
            }
        content = json.dumps(answers.get(path, {"kind": "Status", "status": "Failure", "code": 404})).encode()
        self.send_response(200 if path in answers else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_a_secret_that_has_changed_rolls_the_pods_and_says_nothing_of_what_is_in_it(helm: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"secretSettings": SECRETS}))

    def rendered(*options: str) -> dict[str, str]:
        command = [helm, "template", "shop", str(CHART), "--namespace", "shop", "-f", str(values), *options]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)}
        )
        assert "hunter2" not in done.stdout
        return {
            name: each["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"]
            for name, each in of_kind(list(yaml.safe_load_all(done.stdout)), "Deployment").items()
        }

    with ThreadingHTTPServer(("127.0.0.1", 0), _Cluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = ("--dry-run=server", "--kube-apiserver", f"http://127.0.0.1:{server.server_port}")
        try:
            before, same = rendered(*asked), rendered(*asked)
            _Cluster.version = "2"
            after = rendered(*asked)
        finally:
            _Cluster.version = "1"
            server.shutdown()
    assert before == same
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)
    assert rendered() == rendered()


def test_the_database_is_migrated_before_anything_starts_and_is_waited_for(render: Render) -> None:
    jobs = of_kind(render("small", EVERYTHING), "Job")
    [job] = jobs.values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:3] == ["db", "upgrade", "--wait"]
    # What it needs is there by then: hooks of the same time, and of less weight.
    weights = {
        (each["kind"], each["metadata"]["name"]): int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
        for each in render("small", EVERYTHING)
        if "helm.sh/hook" in each["metadata"].get("annotations", {})
    }
    assert weights["ServiceAccount", "shop-migration"] < weights["Job", "shop-migration"]
    assert weights["ConfigMap", "shop-migration"] < weights["Job", "shop-migration"]
    # A database that the chart itself brings is there only afterwards.
    [job] = of_kind(render("trial"), "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"


@pytest.mark.parametrize("name", SETS)
def test_every_queue_is_worked_on(name: str, render: Render) -> None:
    queues: set[str] = set()
    for pod, container in containers(render(name)):
        if "-worker-" in pod:
            queues |= set(container["args"][container["args"].index("--queues") + 1].split(","))
    assert queues == {"critical", "default", "low"}


def test_pods_may_do_as_little_as_possible(render: Render) -> None:
    objects = render("medium", EVERYTHING)
    for name, pod in pods(objects).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    for name, container in containers(objects):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
    policy = of_kind(objects, "NetworkPolicy")["shop"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    accounts = of_kind(objects, "ServiceAccount")
    assert {pod["serviceAccountName"] for pod in pods(objects).values()} == accounts.keys()
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())


@pytest.mark.parametrize("name", SETS)
def test_what_is_rolled_drains_first(name: str, render: Render) -> None:
    objects = render(name)
    deployments = of_kind(objects, "Deployment")
    for each in ("shop-web", "shop-realtime"):
        assert deployments[each]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        [container] = deployments[each]["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe", "lifecycle"} <= container.keys()
    web = deployments["shop-web"]["spec"]["template"]["spec"]
    pause = int(web["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert web["terminationGracePeriodSeconds"] >= pause + STOP_SECONDS
    realtime = deployments["shop-realtime"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert realtime > int(settings_of(objects)["COMMERCE_REALTIME__DRAIN_SECONDS"])


def test_every_part_may_lose_one_pod_at_a_time(render: Render) -> None:
    objects = render("medium")
    budgets = [each["spec"] for each in of_kind(objects, "PodDisruptionBudget").values()]
    labels = [each["selector"]["matchLabels"]["app.kubernetes.io/component"] for each in budgets]
    made = {
        each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        for each in of_kind(objects, "Deployment").values()
    }
    assert sorted(labels) == sorted(made)
    assert all(each["maxUnavailable"] == 1 for each in budgets)


def test_services_and_budgets_and_policies_find_their_pods(render: Render) -> None:
    objects = render("trial", EVERYTHING)
    found = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(objects, "Deployment", "StatefulSet").values()
    ]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= labels.items() for labels in found)

    for each in objects:
        if each["kind"] == "Service":
            assert matches(each["spec"]["selector"]), each["metadata"]["name"]
        if each["kind"] == "PodDisruptionBudget":
            assert matches(each["spec"]["selector"]["matchLabels"]), each["metadata"]["name"]
        if each["kind"] == "NetworkPolicy":
            assert matches(each["spec"]["podSelector"]["matchLabels"]), each["metadata"]["name"]
    services = of_kind(objects, "Service")
    [rule] = of_kind(objects, "Ingress")["shop"]["spec"]["rules"]
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        assert service["port"]["name"] in {port["name"] for port in services[service["name"]]["spec"]["ports"]}
    assert [path["path"] for path in rule["http"]["paths"]] == ["/app/", "/apps/", "/"]


def test_sockets_are_not_cut_by_the_ingress_and_browsers_find_them(render: Render) -> None:
    objects = render("small", EVERYTHING)
    annotations = of_kind(objects, "Ingress")["shop"]["metadata"]["annotations"]
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > 600
    given = settings_of(objects)
    assert (given["COMMERCE_REALTIME__PUBLIC_PORT"], given["COMMERCE_REALTIME__PUBLIC_TLS"]) == ("443", "true")


def test_it_scales_by_processor_latency_and_by_how_long_jobs_wait(render: Render) -> None:
    objects = render("medium")
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    assert scalers.keys() == {"shop-web", "shop-worker-critical", "shop-worker-default", "shop-worker-low"}
    cpu, latency = scalers["shop-web"]["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert latency["pods"]["target"]["averageValue"] == "400m"
    [wait] = scalers["shop-worker-low"]["spec"]["metrics"]
    assert wait["external"]["metric"]["selector"]["matchLabels"] == {"queue": "low"}
    # Who is scaled has no number of its own that an upgrade would set it back to.
    for name in scalers:
        assert "replicas" not in of_kind(objects, "Deployment")[name]["spec"]
    adapter = yaml.safe_load((CHART / "files" / "prometheus-adapter.yaml").read_text())
    provided = {rule["name"]["as"] for rules in adapter["rules"].values() for rule in rules}
    assert provided == {latency["pods"]["metric"]["name"], wait["external"]["metric"]["name"]}


# --- What Prometheus is told ---


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(render: Render) -> None:
    objects = render("medium", EVERYTHING)
    rules = of_kind(objects, "PrometheusRule")["shop"]["spec"]["groups"][0]["rules"]
    dashboard = json.loads(of_kind(objects, "ConfigMap")["shop-dashboard"]["data"]["commerce.json"])
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [
        line for line in (CHART / "files" / "prometheus-adapter.yaml").read_text().splitlines() if "Query" in line
    ]
    documented = (ROOT / "docs" / "operations.md").read_text()
    realtime = Metrics()
    Meters(realtime)
    known = set(re.findall(r"commerce_[a-z0-9_]+", documented + realtime.text("")[1].decode()))
    for expression in asked:
        for name in re.findall(r"commerce_[a-z0-9_]+", expression):
            assert name in known or name.removesuffix("_bucket") in known, name
    runbooks = set(re.findall(r"^## ([a-z-]+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.M))
    assert {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules} <= runbooks
    assert all(
        rule["annotations"]["summary"] and rule["labels"]["severity"] in ("critical", "warning") for rule in rules
    )


def test_prometheus_has_the_token_and_finds_every_port(render: Render) -> None:
    objects = render("medium", EVERYTHING)
    endpoints = of_kind(objects, "ServiceMonitor")["shop"]["spec"]["endpoints"]
    assert all(each["authorization"]["credentials"] == {"name": "shop", "key": "metrics"} for each in endpoints)
    ports = {port["name"] for each in of_kind(objects, "Service").values() for port in each["spec"]["ports"]}
    assert {each["port"] for each in endpoints} == ports
