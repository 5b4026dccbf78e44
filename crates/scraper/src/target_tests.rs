use super::*;
use crate::config::read_job;

fn make(keys: &str, labels: &[(&'static str, &'static str)]) -> Result<Option<Target>, String> {
    let job = read_job(keys).unwrap();
    let discovered: OwnedLabels = labels.iter().copied().collect();
    Ok(match Target::make(&job, &Arc::new(discovered))? {
        Made::Target(target) => Some(*target),
        Made::Dropped => None,
    })
}

fn labels(target: &Target) -> Vec<(&str, &str)> {
    target.labels().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_target_of_its_address() {
    let target = make("", &[("__address__", "a:9100"), ("env", "prod"), ("__meta_x", "y")]).unwrap().unwrap();
    assert_eq!(labels(&target), [("env", "prod"), ("instance", "a:9100"), ("job", "j")]);
    assert_eq!(target.url.as_str(), "http://a:9100/metrics");
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert!(target.offset() < target.interval);
}

#[test]
fn relabelling_makes_address_path_parameters_and_times() {
    let keys = "params: {module: [http_2xx], a: [x, y]}
scheme: https
relabel_configs:
- { source_labels: [__address__], target_label: __param_module }
- { source_labels: [__param_module], target_label: instance }
- { target_label: __address__, replacement: '[::1]:9115' }
- { target_label: __metrics_path__, replacement: /probe?x }
- { target_label: __scrape_interval__, replacement: 5s }
- { target_label: __scrape_timeout__, replacement: 500ms }
- { regex: __meta_(.*), action: labelmap }";
    let target = make(keys, &[("__address__", "example.com"), ("__meta_team", "t")]).unwrap().unwrap();
    assert_eq!(target.url.as_str(), "https://[::1]:9115/probe%3Fx?a=x&a=y&module=example.com");
    assert_eq!(labels(&target), [("instance", "example.com"), ("job", "j"), ("team", "t")]);
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(5), Duration::from_millis(500)));
}

#[test]
fn what_makes_no_target_is_said() {
    let dropped = "relabel_configs: [{source_labels: [__address__], regex: 'a.*', action: drop}]";
    assert!(make(dropped, &[("__address__", "a:1")]).unwrap().is_none());
    for (labels, said) in [
        (&[("env", "prod")][..], "it has no address"),
        (&[("__address__", "http://a:1/")], "is no address: write HOST:PORT, without"),
        (&[("__address__", "a:99999")], "is no address"),
        (&[("__address__", "a b:1")], "is no address"),
        (&[("__address__", "user@a:1")], "is no address"),
        (&[("__address__", "a:1"), ("__scheme__", "ftp")], "its scheme is \"ftp\""),
        (&[("__address__", "a:1"), ("__scrape_interval__", "0s")], "__scrape_interval__ is 0"),
        (&[("__address__", "a:1"), ("__scrape_timeout__", "2m")], "longer than its interval"),
    ] {
        let error = make("", labels).unwrap_err();
        assert!(error.contains(said), "{labels:?}: {error}");
    }
}
