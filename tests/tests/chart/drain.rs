//! An ingester drains when it is scaled in, and only then: the script that runs before a pod ends,
//! against an API server's answers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::api::{ApiServer, Request};
use crate::render;

const SCALE: &str = "/apis/apps/v1/namespaces/telemetry/statefulsets/bonghwa-ingester/scale";

#[test]
fn an_ingester_drains_only_when_it_is_scaled_in() -> Result<()> {
    let wants =
        |spec: &str| format!(r#"{{"kind":"Scale","spec":{{{spec}}},"status":{{"replicas":6,"selector":"x"}}}}"#);
    let three = wants(r#""replicas":3"#);
    // As the API server writes it for people.
    let pretty = "{\n  \"kind\": \"Scale\",\n  \"spec\": {\n    \"replicas\": 3\n  },\n  \"status\": {}\n}\n";
    for (pod, status, answer, drains, says) in [
        ("bonghwa-ingester-2", 200, three.as_str(), false, "it is one of the 3"),
        ("bonghwa-ingester-3", 200, &three, true, "is drained"),
        ("bonghwa-ingester-11", 200, &three, true, "is drained"),
        ("bonghwa-ingester-3", 200, pretty, true, "is drained"),
        ("bonghwa-ingester-0", 200, &wants(""), false, "is switched off"),
        ("bonghwa-ingester-5", 403, "forbidden", false, "is not known"),
        ("bonghwa-ingester-5", 404, "not found", false, "is not known"),
    ] {
        let run = run(pod, status, answer)?;
        ensure!(run.asked.path == SCALE && run.asked.authorization == "Bearer secret", "{pod} asked {:?}", run.asked);
        ensure!(run.log.contains(says), "{pod} was told {answer} and says {}", run.log);
        let drained = run.log.contains(&format!("bonghwa called: ring drain {pod} --until-restart --wait 60\n"));
        ensure!(drained == drains, "{pod} was told {answer}: {}", run.log);
    }
    Ok(())
}

struct Run {
    asked: Request,
    log: String,
}

/// Runs the script as the kubelet would, with an API server that has one answer.
fn run(pod: &str, status: u16, answer: &str) -> Result<Run> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    for (file, content) in [("token", "secret"), ("namespace", render::NAMESPACE), ("ca.crt", ""), ("log", "")] {
        fs::write(path(file), content)?;
    }
    // What the script calls; what a drain does is other tests' subject.
    fs::write(path("bonghwa"), "#!/bin/sh\necho \"bonghwa called: $*\"\n")?;
    fs::set_permissions(path("bonghwa"), fs::Permissions::from_mode(0o755))?;

    let answer = answer.to_owned();
    let api = ApiServer::start(move |_| (status, answer.clone()))?;
    let search = std::env::var("PATH").unwrap_or_default();
    let ended = Command::new("/bin/sh")
        .arg(render::chart().join("files/drain-if-scaled-in.sh"))
        .arg("60")
        .env("PATH", format!("{}:{search}", dir.path().display()))
        .env("BONGHWA_NODE_NAME", pod)
        .env("KUBERNETES_API", api.url())
        .env("SERVICE_ACCOUNT", dir.path())
        .env("DRAIN_LOG", path("log"))
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .status()?;
    ensure!(ended.success(), "the script ended with {ended}");
    let asked = api.seen().into_iter().next().context("the script asked nobody")?;
    Ok(Run { asked, log: fs::read_to_string(path("log"))? })
}
