use std::time::Duration;

use super::*;

/// Reads a configuration, with files beside it.
fn load_with(text: &str, files: &[(&str, &str)]) -> Result<ScrapeConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().join("scrape.yml");
    std::fs::write(&path, text).unwrap();
    let here = format!("{}/", dir.path().display());
    ScrapeConfig::load(&path).map_err(|error| error.to_string().replace(&here, ""))
}

fn load(text: &str) -> Result<ScrapeConfig, String> {
    load_with(text, &[])
}

/// A job of these keys.
fn job(keys: &str) -> Result<Job, String> {
    let text =
        format!("scrape_configs:\n- job_name: node\n{}", keys.lines().map(|l| format!("  {l}\n")).collect::<String>());
    load(&text).map(|mut config| config.jobs.remove(0))
}

#[test]
fn defaults_are_those_of_prometheus() {
    let job = job("").unwrap();
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!((job.metrics_path.as_str(), job.scheme.as_str()), ("/metrics", "http"));
    assert!(!job.honor_labels && job.honor_timestamps && job.compression && job.http.follow_redirects);
    assert!(!job.native_histograms && !job.classic_histograms && !job.extra_metrics);
    assert_eq!(job.protocols, Protocol::DEFAULT);
    assert_eq!(job.limits, Limits::default());
    assert_eq!(load("").unwrap().jobs.len(), 0);
    assert_eq!(load("scrape_configs:\n").unwrap().jobs.len(), 0);
}

#[test]
fn a_whole_prometheus_yml() {
    let text = "
global:
  scrape_interval: 15s
  evaluation_interval: 30s
  external_labels: { cluster: eu, shard: 7 }
  sample_limit: 5000
rule_files: [rules.yml]
alerting: { alertmanagers: [{ static_configs: [{ targets: ['am:9093'] }] }] }
remote_write: [{ url: 'http://x/' }]
scrape_config_files: ['more*.yml']
scrape_configs:
- job_name: node
  scrape_interval: 5s
  params: { 'collect[]': [cpu, meminfo] }
  sample_limit: 10
  body_size_limit: 15MB
  basic_auth: { username: me, password_file: secret }
  static_configs:
  - targets: ['a:9100', 'b:9100']
    labels: { env: prod, tier: 1 }
  file_sd_configs: [{ files: ['targets/*.json'], refresh_interval: 1m }]
  relabel_configs:
  - { source_labels: [__address__], regex: '([^:]+).*', target_label: host }
  metric_relabel_configs:
  - { source_labels: [__name__], regex: 'go_.*', action: drop }
";
    let more = "scrape_configs:\n- { job_name: more, scrape_native_histograms: true }\n";
    let config = load_with(text, &[("more1.yml", more)]).unwrap();
    assert_eq!(config.unused, ["rule_files", "alerting", "remote_write"]);
    let [node, more] = &config.jobs[..] else { panic!("{config:?}") };
    assert_eq!((node.interval, node.timeout), (Duration::from_secs(5), Duration::from_secs(5)), "the default fits in");
    assert_eq!(node.external_labels, [("cluster".into(), "eu".into()), ("shard".into(), "7".into())]);
    assert_eq!((node.limits.samples, node.limits.body), (10, 15 << 20));
    assert!(node.http.basic_auth.as_ref().unwrap().password_file.as_ref().unwrap().is_absolute());
    assert_eq!((node.discoveries.len(), node.relabel.len(), node.metric_relabel.len()), (2, 1, 1));
    let Discovery::Static(groups) = &node.discoveries[0] else { panic!() };
    assert_eq!((groups[0].targets.len(), groups[0].labels.get("tier")), (2, "1"));
    assert_eq!((more.interval, more.limits.samples), (Duration::from_secs(15), 5000));
    assert_eq!((more.native_histograms, more.protocols[0]), (true, Protocol::PrometheusProto));
}

#[test]
fn who_asks_for_protobuf_wants_native_histograms() {
    let asked = job("scrape_protocols: [PrometheusProto, PrometheusText0.0.4]").unwrap();
    assert!(asked.native_histograms);
    assert_eq!(
        accept(&asked.protocols, asked.escaping),
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    );
    let legacy = job("metric_name_validation_scheme: legacy").unwrap();
    let accepted = accept(&legacy.protocols, legacy.escaping);
    assert!(
        accepted.starts_with("application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,"),
        "{accepted}"
    );
}

#[test]
fn mistakes_name_file_job_key_and_remedy() {
    for (keys, said) in [
        ("scrape_intervall: 5s", "unknown key `scrape_intervall`: did you mean `scrape_interval`?"),
        ("basic_oauth: {}", "unknown key `basic_oauth`: did you mean `basic_auth`?"),
        ("sample_limits: 5", "unknown key `sample_limits`: did you mean `sample_limit`?"),
        ("tls_config: {ca_fil: x}", "unknown key `tls_config.ca_fil`: did you mean `tls_config.ca_file`?"),
        ("scrape_interval: 5 apples", "`scrape_interval`: \"5 apples\" is no length of time"),
        ("scrape_interval: 0s", "`scrape_interval`: it must be above 0"),
        ("scrape_timeout: 2m", "`scrape_timeout`: 2m is longer than the scrape_interval, 1m"),
        ("scheme: ftp", "`scheme`: \"ftp\" is neither"),
        ("honor_labels: maybe", "`honor_labels`: invalid type"),
        ("scrape_protocols: [XML]", "`scrape_protocols[0]`: unknown variant `XML`"),
        (
            "static_configs: [{target: ['a:1']}]",
            "unknown key `static_configs[0].target`: did you mean `static_configs[0].targets`?",
        ),
        ("file_sd_configs: [{files: [a.txt]}]", "`file_sd_configs[0].files`: \"a.txt\" does not end in"),
        ("file_sd_configs: [{}]", "`file_sd_configs[0]`: missing field `files`"),
        ("http_sd_configs: [{url: 'ftp://x'}]", "`http_sd_configs[0].url`: \"ftp://x\" is no URL"),
        ("kubernetes_sd_configs: [{role: pods}]", "`kubernetes_sd_configs[0].role`: unknown variant `pods`"),
        ("kubernetes_sd_configs: [{role: pod, kubeconfig_file: x}]", "kubeconfig files are not read"),
        ("kubernetes_sd_configs: [{role: pod, bearer_token: x}]", "`kubernetes_sd_configs[0].api_server`: without it"),
        (
            "kubernetes_sd_configs: [{role: node, selectors: [{role: pod, label: a}]}]",
            "`kubernetes_sd_configs[0].selectors`",
        ),
        ("consul_sd_configs: []", "`consul_sd_configs`: targets are found by static_configs"),
        ("oauth2: {client_id: x}", "`oauth2`: OAuth 2 is not supported"),
        ("bearer_token: a\nbearer_token_file: b", "`authorization`: at most one of"),
        ("tls_config: {cert_file: a}", "`tls_config`: a certificate needs its key"),
        ("relabel_configs: [{regex: '('}]", "`relabel_configs[0].regex`: \"(\" is no regular expression"),
        ("relabel_configs: [{regex: 'a**'}]", "`relabel_configs[0].regex`: \"a**\" is no regular expression"),
        ("relabel_configs: [{action: replace}]", "`relabel_configs[0].target_label`: it is missing"),
        ("relabel_configs: [{action: move}]", "`relabel_configs[0].action`: \"move\" is no action"),
        (
            "relabel_configs: [{sourcelabels: [a]}]",
            "unknown key `relabel_configs[0].sourcelabels`: did you mean `relabel_configs[0].source_labels`?",
        ),
        (
            "metric_relabel_configs: [{action: hashmod, target_label: a}]",
            "`metric_relabel_configs[0].modulus`: hashmod needs",
        ),
        (
            "relabel_configs: [{action: labeldrop, source_labels: [a]}]",
            "`relabel_configs[0].source_labels`: the action makes no use",
        ),
        (
            "static_configs: [{labels: {a: 1.1, b: 1.10}}]",
            "`static_configs[0].labels.a`: 1.1 is a number, which may be written in several ways: put it in quotes",
        ),
        (
            "relabel_configs: [{action: keepequal, target_label: a, regex: x}]",
            "`relabel_configs[0].regex`: the action makes no use",
        ),
    ] {
        let error = job(keys).unwrap_err();
        assert!(error.starts_with("scrape.yml: job \"node\": ") && error.contains(said), "{keys}: {error}");
    }
    for (text, said) in [
        ("scrape_config: []", "scrape.yml: unknown key `scrape_config`: did you mean `scrape_configs`?"),
        (
            "global: {scrape_intervals: 5s}",
            "scrape.yml: unknown key `global.scrape_intervals`: did you mean `global.scrape_interval`?",
        ),
        ("global: {scrape_timeout: 5m}", "scrape.yml: `global.scrape_timeout`: 5m is longer"),
        ("scrape_configs: [{scheme: http}]", "scrape.yml: job \"scrape_configs[0]\": missing field `job_name`"),
        ("scrape_configs: [{job_name: a}, {job_name: a}]", "scrape.yml: job \"a\": the name is there twice"),
        ("- a", "scrape.yml: it holds no sections"),
        ("a: [", "scrape.yml: "),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.starts_with(said), "{text}: {error}");
    }
    let broken = load_with("scrape_config_files: [more.yml]", &[("more.yml", "scrape_configs: [{job_name: a, x: 1}]")]);
    assert_eq!(broken.unwrap_err(), "more.yml: job \"a\": unknown key `x`");
}

#[test]
fn texts_stay_as_they_are_written() {
    let job = job("static_configs: [{targets: ['a:1'], labels: {version: 1.10, on: true, n: 7}}]").unwrap();
    let Discovery::Static(groups) = &job.discoveries[0] else { panic!() };
    let label = |name| groups[0].labels.get(name);
    assert_eq!((label("version"), label("on"), label("n")), ("1.10", "true", "7"));
    let error = self::job("native_histogram_min_bucket_factor: 1.1").unwrap_err();
    assert!(error.contains("`native_histogram_min_bucket_factor`: native histograms are stored"), "{error}");
}

#[test]
fn external_labels_name_variables_of_the_environment() {
    let text = "
global: {external_labels: {a: '${CARGO_PKG_NAME}', b: '$$x', c: '${BONGHWA_IS_NOT_SET}', d: plain}}
scrape_configs: [{job_name: '${CARGO_PKG_NAME}'}]";
    let job = load(text).unwrap().jobs.remove(0);
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(job.external_labels, [label("a", "bonghwa-scraper"), label("b", "$x"), label("d", "plain")]);
    assert_eq!(job.name, "${CARGO_PKG_NAME}", "nowhere else");
}

#[test]
fn defaults_of_rules_may_be_written_out() {
    let rule = "separator: ';', replacement: '$1', regex: '(.*)', target_label: '', modulus: 0, source_labels: []";
    job(&format!("relabel_configs: [{{action: labelkeep, {rule}}}]")).unwrap();
    let rule = "separator: ';', replacement: '$1', regex: '(.*)', modulus: 0";
    job(&format!("relabel_configs: [{{action: keepequal, source_labels: [a], target_label: b, {rule}}}]")).unwrap();
}

#[test]
fn secrets_do_not_show() {
    let job = job("authorization: {credentials: hush}\nhttp_headers: {x-key: {secrets: [hush]}}").unwrap();
    assert!(!format!("{job:?}").contains("hush"));
}
