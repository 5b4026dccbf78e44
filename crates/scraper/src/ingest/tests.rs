use std::path::Path;

use super::read_back::read;
use super::*;
use crate::config::ScrapeConfig;
use crate::labels::OwnedLabels;
use crate::target::Made;

/// A job of these keys, and its target `a:80`.
fn world(keys: &str) -> (Arc<Job>, Arc<Target>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scrape.yml");
    let keys: String = keys.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!("global: {{external_labels: {{cluster: eu}}}}\nscrape_configs:\n- job_name: j\n{keys}");
    std::fs::write(&path, text).unwrap();
    let job = ScrapeConfig::load(Path::new(&path)).unwrap().jobs.remove(0);
    let labels: OwnedLabels = [("__address__", "a:80"), ("zone", "z")].into_iter().collect();
    let Made::Target(target) = Target::make(&job, &Arc::new(labels)).unwrap() else { panic!() };
    (Arc::new(job), Arc::new(*target))
}

/// A body as a target may send it: some do not compress.
fn gzip(body: &str) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    body.len().is_multiple_of(2).then(|| encoder.finish().unwrap())
}

/// A scrape, and what it wrote.
fn scrape(
    cache: &mut SeriesCache,
    world: &(Arc<Job>, Arc<Target>),
    time: i64,
    body: &str,
) -> Result<(Counts, Vec<String>), String> {
    let mut writer = MessageWriter::default();
    let scrape = Scrape { job: &world.0, target: &world.1, time };
    let (counts, taken) = cache.take(body.as_bytes(), gzip(body), Format::Text, &scrape, &mut writer);
    taken.map(|()| (counts, shown(writer)))
}

/// Without the labels that all series have.
fn short(line: &str) -> String {
    line.replace(",cluster=eu", "").replace(",instance=a:80,job=j", "").replace(",zone=z", "")
}

/// What messages say, a line for each series in the order of the messages.
fn shown(writer: MessageWriter) -> Vec<String> {
    writer.finish().iter().flat_map(|message| read(message)).map(|line| short(&line)).collect()
}

fn counts(scraped: u64, kept: u64, added: u64, duplicates: u64) -> Counts {
    Counts { scraped, kept, added, duplicates }
}

#[test]
fn series_that_vanish_end_and_those_that_stay_go_on() {
    let world = world("");
    let mut cache = SeriesCache::default();
    let first =
        scrape(&mut cache, &world, 10, "# TYPE up_to gauge\n# HELP up_to h\nup_to 1\nb{x=\"1\"} 2\nb{x=\"2\"} 3\n");
    let lines = ["__name__=up_to 1@10 [2 h]", "__name__=b,x=1 2@10", "__name__=b,x=2 3@10"];
    assert_eq!(first.unwrap(), (counts(3, 3, 3, 0), lines.map(str::to_owned).to_vec()));
    // Metadata is written once.
    let second = scrape(&mut cache, &world, 20, "# TYPE up_to gauge\n# HELP up_to h\nup_to 1\nb{x=\"2\"} 3\nc 1\n");
    let lines = ["__name__=up_to 1@20", "__name__=b,x=2 3@20", "__name__=c 1@20", "__name__=b,x=1 stale@20"];
    assert_eq!(second.unwrap(), (counts(3, 3, 1, 0), lines.map(str::to_owned).to_vec()));
    // Of a series that comes back nothing is left of its end.
    let third = scrape(&mut cache, &world, 30, "b{x=\"1\"} 2\n").unwrap().1;
    let lines = ["__name__=b,x=1 2@30", "__name__=up_to stale@30", "__name__=b,x=2 stale@30", "__name__=c stale@30"];
    assert_eq!(third, lines);
    // A scrape that fails ends everything; the next begins anew.
    let mut writer = MessageWriter::default();
    cache.fail(40, &mut writer);
    assert_eq!(shown(writer), ["__name__=b,x=1 stale@40"]);
    let mut writer = MessageWriter::default();
    cache.fail(50, &mut writer);
    assert_eq!(shown(writer), Vec::<String>::new());
    assert_eq!(scrape(&mut cache, &world, 60, "b{x=\"1\"} 2\n").unwrap().0, counts(1, 1, 1, 0));
}

#[test]
fn labels_in_another_order_are_the_same_series() {
    let world = world("");
    let mut cache = SeriesCache::default();
    scrape(&mut cache, &world, 10, "a{x=\"1\",y=\"2\"} 1\n").unwrap();
    let (_, lines) = scrape(&mut cache, &world, 20, "a{y=\"2\",x=\"1\"} 1\n").unwrap();
    assert_eq!(lines, ["__name__=a,x=1,y=2 1@20"]);
}

#[test]
fn timestamps_are_honoured_and_then_nothing_ends() {
    let mut cache = SeriesCache::default();
    let honours = world("");
    assert_eq!(scrape(&mut cache, &honours, 10, "a 1 5\na 2 6\n").unwrap().1, ["__name__=a 1@5", "__name__=a 2@6"]);
    assert_eq!(scrape(&mut cache, &honours, 20, "").unwrap().1, Vec::<String>::new());
    let tracks = world("track_timestamps_staleness: true");
    scrape(&mut cache, &tracks, 10, "a 1 5\n").unwrap();
    assert_eq!(scrape(&mut cache, &tracks, 20, "").unwrap().1, ["__name__=a stale@20"]);
    let refuses = world("honor_timestamps: false");
    let (counted, lines) = scrape(&mut cache, &refuses, 10, "a 1 5\na 2 6\n").unwrap();
    assert_eq!((counted, lines), (counts(2, 1, 1, 1), vec!["__name__=a 1@10".to_owned()]));
    assert_eq!(scrape(&mut cache, &refuses, 20, "").unwrap().1, ["__name__=a stale@20"]);
}

#[test]
fn the_targets_labels_win_unless_the_series_are_honoured() {
    let body = "a{job=\"x\",zone=\"\",instance=\"i\",exported_job=\"y\",cluster=\"us\",empty=\"\"} 1\n";
    let mut cache = SeriesCache::default();
    let lines = scrape(&mut cache, &world(""), 1, body).unwrap().1;
    assert_eq!(lines, ["__name__=a,cluster=us,exported_exported_job=x,exported_instance=i,exported_job=y 1@1"]);
    let lines = scrape(&mut SeriesCache::default(), &world("honor_labels: true"), 1, body).unwrap().1;
    assert_eq!(lines, ["__name__=a,cluster=us,exported_job=y,instance=i,job=x 1@1"]);
}

#[test]
fn relabelling_drops_renames_and_unites() {
    let world = world(
        "metric_relabel_configs:
- { source_labels: [__name__], regex: 'go_.*', action: drop }
- { regex: secret, action: labeldrop }
- { source_labels: [__name__], regex: 'old_(.*)', target_label: __name__, replacement: 'new_$1' }",
    );
    let mut cache = SeriesCache::default();
    let body = "go_x 1\na{secret=\"1\"} 1\na{secret=\"2\"} 2\nold_b 3\nplain 4\n";
    let lines = ["__name__=a 1@1", "__name__=new_b 3@1", "__name__=plain 4@1"].map(str::to_owned).to_vec();
    assert_eq!(scrape(&mut cache, &world, 1, body).unwrap(), (counts(5, 3, 3, 1), lines));
    // What is known of them does not change what becomes of them.
    let lines = ["__name__=a 1@2", "__name__=new_b 3@2", "__name__=plain 4@2"].map(str::to_owned).to_vec();
    let (counted, again) = scrape(&mut cache, &world, 2, body).unwrap();
    assert_eq!((counted.kept, counted.added, again), (3, 0, lines));
    assert_eq!(
        scrape(&mut cache, &world, 3, "go_x 1\nplain 4\n").unwrap().1[1..],
        ["__name__=a stale@3", "__name__=new_b stale@3"]
    );
}

#[test]
fn limits_make_a_scrape_fail() {
    for (keys, body, said) in [
        ("sample_limit: 2", "a 1\nb 2\nc 3\n", "3 samples are more than sample_limit (2)"),
        ("label_limit: 4", "a{x=\"1\"} 1\n", "has 5 labels, more than label_limit (4)"),
        ("label_name_length_limit: 8", "a{long_name=\"1\"} 1\n", "label_name_length_limit (8)"),
        ("label_value_length_limit: 4", "a{x=\"12345\"} 1\n", "label_value_length_limit (4)"),
        ("metric_name_validation_scheme: legacy", "{\"a.b\"} 1\n", "a name that is not allowed"),
        ("", "a{x=\"1\",x=\"2\"} 1\n", "the label \"x\" is there twice"),
        ("metric_relabel_configs: [{regex: __name__, action: labeldrop}]", "a 1\n", "took the metric's name away"),
    ] {
        let error = scrape(&mut SeriesCache::default(), &world(keys), 1, body).unwrap_err();
        assert!(error.contains(said), "{keys}: {error}");
    }
    let within = scrape(&mut SeriesCache::default(), &world("sample_limit: 2"), 1, "a 1\nb 2\n");
    assert_eq!(within.unwrap().0.kept, 2);
}

#[test]
fn another_job_begins_its_series_anew() {
    let first = world("metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]");
    let second = world(
        "metric_relabel_configs:
- { source_labels: [__name__], regex: c, action: drop }
- { source_labels: [__name__], regex: d, target_label: __name__, replacement: e }",
    );
    let mut cache = SeriesCache::default();
    let body = "a 1\nb 2\nc 3\nd 4\n";
    let lines = ["__name__=a 1@10", "__name__=c 3@10", "__name__=d 4@10"];
    assert_eq!(scrape(&mut cache, &first, 10, body).unwrap().1, lines);
    // What the job before stored under other labels ends.
    let (counted, lines) = scrape(&mut cache, &second, 20, body).unwrap();
    assert_eq!(counted, counts(4, 3, 3, 0));
    let expected =
        ["__name__=a 1@20", "__name__=b 2@20", "__name__=e 4@20", "__name__=c stale@20", "__name__=d stale@20"];
    assert_eq!(lines, expected);
    let lines = scrape(&mut cache, &second, 30, body).unwrap().1;
    assert_eq!(lines, ["__name__=a 1@30", "__name__=b 2@30", "__name__=e 4@30"]);
}

#[test]
fn a_series_that_another_hid_comes_forth() {
    let world = world("metric_relabel_configs: [{regex: secret, action: labeldrop}]");
    let mut cache = SeriesCache::default();
    let (one, two) = ("a{secret=\"1\"} 1\n", "a{secret=\"2\"} 2\n");
    let both = format!("{one}{two}");
    assert_eq!(scrape(&mut cache, &world, 1, &both).unwrap().1, ["__name__=a 1@1"]);
    assert_eq!(scrape(&mut cache, &world, 2, two).unwrap().1, ["__name__=a 2@2"], "its labels do not end");
    assert_eq!(scrape(&mut cache, &world, 3, &both).unwrap().1, ["__name__=a 1@3"]);
    assert_eq!(scrape(&mut cache, &world, 4, one).unwrap().1, ["__name__=a 1@4"]);
    assert_eq!(scrape(&mut cache, &world, 5, "").unwrap().1, ["__name__=a stale@5"]);
}

#[test]
fn rules_and_limits_do_not_see_external_labels() {
    let rule = "metric_relabel_configs: [{source_labels: [cluster], regex: '', target_label: seen, replacement: 'no'}]";
    for (keys, body, expected) in [
        (rule, "a 1\n", "__name__=a,cluster=eu,instance=a:80,job=j,seen=no,zone=z 1@1"),
        (rule, "a{job=\"x\"} 1\n", "__name__=a,cluster=eu,exported_job=x,instance=a:80,job=j,seen=no,zone=z 1@1"),
        ("label_limit: 5", "a{x=\"1\"} 1\n", "__name__=a,cluster=eu,instance=a:80,job=j,x=1,zone=z 1@1"),
        ("label_limit: 4", "a{cluster=\"\"} 1\n", "__name__=a,cluster=eu,instance=a:80,job=j,zone=z 1@1"),
    ] {
        let world = world(keys);
        let mut writer = MessageWriter::default();
        let scrape = Scrape { job: &world.0, target: &world.1, time: 1 };
        let mut cache = SeriesCache::default();
        cache.take(body.as_bytes(), None, Format::Text, &scrape, &mut writer).1.unwrap();
        assert_eq!(read(&writer.finish()[0]), [expected], "{keys}");
    }
}

#[test]
fn metadata_goes_with_its_own_metric_again_and_again() {
    let world = world("metric_relabel_configs: [{source_labels: [__name__, x], regex: 'a;1', action: drop}]");
    let mut cache = SeriesCache::default();
    let dropped = "# TYPE a counter\na{x=\"1\"} 1\nb 2\n";
    assert_eq!(scrape(&mut cache, &world, 1, dropped).unwrap().1, ["__name__=b 2@1"]);
    // With the first series that is stored.
    let body = "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 1\n";
    assert_eq!(scrape(&mut cache, &world, 2, body).unwrap().1[0], "__name__=a,x=2 1@2 [1 ]");
    assert_eq!(scrape(&mut cache, &world, 3, body).unwrap().1[0], "__name__=a,x=2 1@3");
    let later = 3 + TELL_AGAIN as i64;
    assert_eq!(scrape(&mut cache, &world, later, body).unwrap().1[0], format!("__name__=a,x=2 1@{later} [1 ]"));
}

#[test]
fn histograms_of_too_many_buckets_become_coarser() {
    let body = crate::parse::tests::protobuf();
    // It has three buckets in schema 3.
    for (limit, schema) in [(0, 3), (3, 3), (2, 2), (1, 0)] {
        let world = world(&format!("scrape_native_histograms: true\nnative_histogram_bucket_limit: {limit}"));
        let mut writer = MessageWriter::default();
        let scrape = Scrape { job: &world.0, target: &world.1, time: 7 };
        SeriesCache::default().take(&body, None, Format::Protobuf, &scrape, &mut writer).1.unwrap();
        let lines = shown(writer);
        let line = lines.iter().find(|line| line.starts_with("__name__=h,n=1 ")).unwrap();
        assert!(line.contains(&format!(" schema {schema}@7")), "{limit}: {line}");
    }
    let positive = crate::parse::Buckets { spans: vec![(0, 2)], deltas: vec![1, 1], counts: vec![] };
    let coarsest = NativeHistogram { schema: -4, positive, ..Default::default() };
    let error = fitting("h", &coarsest, 1).unwrap_err();
    assert!(error.contains("has 2 buckets in the coarsest resolution, more than native_histogram_bucket_limit (1)"));
}

#[test]
fn large_scrapes_are_several_messages() {
    let world = world("");
    let mut cache = SeriesCache::default();
    let padding = "p".repeat(100);
    let body: String = (0..30_000).map(|n| format!("metric_{n}{{padding=\"{padding}{n}\"}} {n}\n")).collect();
    let mut writer = MessageWriter::default();
    let scrape = Scrape { job: &world.0, target: &world.1, time: 7 };
    let (counted, taken) = cache.take(body.as_bytes(), gzip(&body), Format::Text, &scrape, &mut writer);
    taken.unwrap();
    report(&scrape, &Facts { up: true, seconds: 0.5, counts: counted, body: 0.0 }, &mut writer);
    let messages = writer.finish();
    assert!(messages.len() > 3 && messages.iter().all(|message| message.len() < 2 << 20));
    let lines: Vec<String> = messages.iter().flat_map(|message| read(message)).map(|line| short(&line)).collect();
    assert_eq!(lines.len(), 30_005);
    assert_eq!(lines[29_999], format!("__name__=metric_29999,padding={padding}29999 29999@7"));
    assert_eq!(
        lines[30_000..],
        [
            "__name__=up 1@7",
            "__name__=scrape_duration_seconds 0.5@7",
            "__name__=scrape_samples_scraped 30000@7",
            "__name__=scrape_samples_post_metric_relabeling 30000@7",
            "__name__=scrape_series_added 30000@7",
        ]
    );
}

#[test]
fn an_exemplar_without_a_time_is_written_once() {
    let world = world("");
    let mut cache = SeriesCache::default();
    let mut take = |time: i64, trace: &str, stamp: &str| {
        let body = format!("# TYPE foo counter\nfoo_total 17 # {{trace_id=\"{trace}\"}} 0.5{stamp}\nbar 1\n# EOF\n");
        let mut writer = MessageWriter::default();
        let scrape = Scrape { job: &world.0, target: &world.1, time };
        cache.take(body.as_bytes(), None, Format::OpenMetrics, &scrape, &mut writer).1.unwrap();
        shown(writer).iter().filter(|line| line.contains(&format!("# trace_id={trace}"))).count()
    };
    let times = [take(10, "a", ""), take(20, "a", ""), take(30, "b", ""), take(40, "a", ""), take(50, "a", "")];
    assert_eq!(times, [1, 0, 1, 1, 0]);
    // Those that have a time are told apart by it where they are stored.
    assert_eq!([take(60, "a", " 0.05"), take(70, "a", " 0.05")], [1, 1]);
}
