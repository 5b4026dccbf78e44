//! An ingester drains when it is scaled in, and only then: the script that runs before a pod ends,
//! against an API server's answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
        ensure!(run.asked == format!("GET {SCALE} HTTP/1.1"), "{pod} asked {:?}", run.asked);
        ensure!(run.authorized, "{pod} showed no token");
        ensure!(run.log.contains(says), "{pod} was told {answer} and says {}", run.log);
        let drained = run.log.contains(&format!("bonghwa called: ring drain {pod} --wait 60\n"));
        ensure!(drained == drains, "{pod} was told {answer}: {}", run.log);
    }
    Ok(())
}

struct Run {
    asked: String,
    authorized: bool,
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

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let api = format!("http://{}", listener.local_addr()?);
    let answer = answer.to_owned();
    let server = std::thread::spawn(move || serve_once(&listener, status, &answer));
    let search = std::env::var("PATH").unwrap_or_default();
    let ended = Command::new("/bin/sh")
        .arg(render::chart().join("files/drain-if-scaled-in.sh"))
        .arg("60")
        .env("PATH", format!("{}:{search}", dir.path().display()))
        .env("BONGHWA_NODE_NAME", pod)
        .env("KUBERNETES_API", api)
        .env("SERVICE_ACCOUNT", dir.path())
        .env("DRAIN_LOG", path("log"))
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .status()?;
    ensure!(ended.success(), "the script ended with {ended}");
    let (asked, authorized) = server.join().ok().context("the API server panicked")??;
    Ok(Run { asked, authorized, log: fs::read_to_string(path("log"))? })
}

/// The first line of the request, and whether it bore the token.
fn serve_once(listener: &TcpListener, status: u16, answer: &str) -> Result<(String, bool)> {
    let (stream, _) = listener.accept()?;
    let (mut lines, mut authorized) = (vec![], false);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        authorized |= line.eq_ignore_ascii_case("authorization: bearer secret");
        lines.push(line);
    }
    reply(stream, status, answer)?;
    Ok((lines.into_iter().next().context("an empty request")?, authorized))
}

fn reply(mut stream: TcpStream, status: u16, answer: &str) -> Result<()> {
    let head = format!("HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    Ok(stream.write_all((head + answer).as_bytes())?)
}
