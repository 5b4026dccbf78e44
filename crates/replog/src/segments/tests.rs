//! Segments against a model: whatever is written, closed, cut short and opened again, what is read is
//! what a map would hold.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::files::list;
use super::frame::{ALIGNMENT, Draft, Header};
use super::{SegmentDisk, Writer};
use crate::codec::Write;
use crate::disk::{Batch, Disk};
use crate::group_log::StateKey;
use crate::migrate::migrate;
use crate::raft_types::{Content, Entry, LeaderId, LogId};
use crate::request::Progress;
use crate::{Error, Payload, StoreOptions, record, states};

/// Segments of a few frames, and few of them.
fn options() -> StoreOptions {
    StoreOptions { segment_bytes: 64 << 10, max_segments: 3, ..StoreOptions::default() }
}

struct Opened {
    disk: SegmentDisk,
    writer: Writer,
}

fn open(path: &Path) -> Result<Opened, Error> {
    let (disk, segments) = SegmentDisk::open(path, Arc::new(states::open(path)?), &options())?;
    let mut writer = Writer::new(&disk, segments, Arc::new(Progress::default()), &options());
    migrate(path, &disk, &mut writer)?;
    Ok(Opened { disk, writer })
}

fn entry(position: u64, size: usize) -> Entry {
    let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, position);
    Entry { log_id, payload: Content::Normal(Payload::new(vec![position as u8; size])) }
}

fn held(disk: &SegmentDisk, family: &str) -> Vec<(u64, Bytes)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], record: &[u8]| {
        found.push((u64::from_be_bytes(key.try_into().unwrap()), Bytes::copy_from_slice(record)));
        true
    };
    disk.scan(family, 0, u64::MAX, &mut visit).unwrap();
    found
}

fn encoded(entry: &Entry) -> Bytes {
    let mut record = Vec::new();
    record::encode(entry, &mut record);
    record.into()
}

fn newest(path: &Path) -> PathBuf {
    list(&path.join("segments")).unwrap().pop().unwrap().1
}

/// What a family should hold, and up to where it is trimmed.
#[derive(Default)]
struct Family {
    entries: BTreeMap<u64, Bytes>,
    next: u64,
    trimmed: u64,
}

/// A store and what it should hold.
struct Model {
    dir: TempDir,
    opened: Option<Opened>,
    families: BTreeMap<String, Family>,
    state: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = Some(open(dir.path()).unwrap());
        Model { dir, opened, families: BTreeMap::new(), state: seed | 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn family(&mut self) -> String {
        let name = format!("logs-{}", self.random(4));
        if !self.families.contains_key(&name) {
            self.opened.as_ref().unwrap().disk.create_family(&name).unwrap();
            self.families.insert(name.clone(), Family { next: 1, ..Default::default() });
        }
        name
    }

    fn step(&mut self) {
        let name = self.family();
        match self.random(20) {
            0..=9 => self.append(&name),
            10..=11 => self.truncate(&name),
            12..=15 => self.trim(&name),
            16 => self.drop_family(&name),
            17 => self.install(&name),
            18 => self.reopen(true),
            _ => self.reopen(false),
        }
    }

    fn append(&mut self, name: &str) {
        let (count, size) = (1 + self.random(4), self.random(9000) as usize);
        let family = self.families.get_mut(name).unwrap();
        let entries: Vec<Entry> = (0..count).map(|n| entry(family.next + n, size)).collect();
        family.next += count;
        family.entries.extend(entries.iter().map(|entry| (entry.log_id.index, encoded(entry))));
        let writer = &mut self.opened.as_mut().unwrap().writer;
        writer.apply(false, |batch| Ok(batch.put_entries(name, &entries))).unwrap();
    }

    fn truncate(&mut self, name: &str) {
        let back = self.random(5);
        let family = self.families.get_mut(name).unwrap();
        let first = family.entries.keys().next().copied().unwrap_or(family.next);
        let from = family.next.saturating_sub(back).max(first);
        family.entries.split_off(&from);
        let end = std::mem::replace(&mut family.next, from);
        let writer = &mut self.opened.as_mut().unwrap().writer;
        let truncated = writer.apply(false, |batch| {
            batch.delete_entries(name, from, end);
            Ok(())
        });
        truncated.unwrap();
    }

    fn trim(&mut self, name: &str) {
        let keep = self.random(6);
        let family = self.families.get_mut(name).unwrap();
        let upto = (family.next - 1).saturating_sub(keep);
        self.trim_to(name, upto);
    }

    /// A snapshot covers what the log never had.
    fn install(&mut self, name: &str) {
        let ahead = self.random(10);
        let family = self.families.get_mut(name).unwrap();
        family.next += ahead;
        let upto = family.next - 1;
        self.trim_to(name, upto);
    }

    fn trim_to(&mut self, name: &str, upto: u64) {
        let family = self.families.get_mut(name).unwrap();
        if upto <= family.trimmed {
            return;
        }
        family.trimmed = upto;
        family.entries = family.entries.split_off(&(upto + 1));
        let mut value = Vec::new();
        value.put_log_id(&entry(upto, 0).log_id);
        let writer = &mut self.opened.as_mut().unwrap().writer;
        let trimmed = writer.apply(false, |batch| {
            batch.trim(&name.into(), 0, upto);
            batch.put_state(StateKey::Purged.of(name), value);
            Ok(())
        });
        trimmed.unwrap();
    }

    fn drop_family(&mut self, name: &str) {
        let disk = &self.opened.as_ref().unwrap().disk;
        disk.drop_family(name).unwrap();
        disk.delete_states(&[StateKey::Purged.of(name)]).unwrap();
        self.families.remove(name);
    }

    /// Closed, or killed in the middle of a write.
    fn reopen(&mut self, close: bool) {
        let mut opened = self.opened.take().unwrap();
        if close {
            opened.writer.close().unwrap();
        }
        drop(opened);
        if !close {
            let torn = self.random(3);
            cut_short(self.dir.path(), torn);
        }
        self.opened = Some(open(self.dir.path()).unwrap());
    }

    fn check(&self) {
        let disk = &self.opened.as_ref().unwrap().disk;
        assert_eq!(disk.families().unwrap(), self.families.keys().cloned().collect::<Vec<_>>());
        for (name, family) in &self.families {
            let entries: Vec<(u64, Bytes)> = family.entries.iter().map(|(at, record)| (*at, record.clone())).collect();
            assert_eq!(held(disk, name), entries, "{name}");
            let last = disk.last(name).unwrap().map(|(_, record)| record);
            assert_eq!(last, entries.last().map(|(_, record)| record.clone()));
        }
    }
}

/// A write that a crash interrupted: its beginning behind the last frame of the newest segment.
fn cut_short(path: &Path, how: u64) {
    let Some((number, newest)) = list(&path.join("segments")).unwrap().pop() else { return };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(newest).unwrap();
    let mut end = 0;
    let mut header = [0; Header::LEN];
    while file.read_exact_at(&mut header, end).is_ok()
        && let Some(header) = Header::read(&header).filter(|header| header.segment == number)
    {
        end += header.frame();
    }
    let mut draft = Draft::default();
    draft.entry(1, &entry(1000, 3 * ALIGNMENT));
    let mut buffer = Vec::new();
    let (start, _) = draft.encode(number, &mut buffer);
    let whole = &buffer[start..];
    let written = match how {
        0 => &whole[..0],
        1 => &whole[..20],
        _ => &whole[..2 * ALIGNMENT],
    };
    file.write_all_at(written, end).unwrap();
}

#[test]
fn what_is_read_is_what_was_written() {
    for seed in 1..=6 {
        let mut model = Model::new(seed * 0x9e37_79b9_7f4a_7c15);
        for _ in 0..400 {
            model.step();
            model.check();
        }
        model.reopen(false);
        model.check();
        // Space is given back: a few entries of a few kilobytes are wanted, of hundreds written.
        let segments = list(&model.dir.path().join("segments")).unwrap().len();
        assert!(segments <= 12, "seed {seed}: {segments} segments");
    }
}

fn ten_entries(path: &Path) {
    let mut opened = open(path).unwrap();
    opened.disk.create_family("logs-0").unwrap();
    for position in 1..=10 {
        opened.writer.apply(false, |batch| Ok(batch.put_entries("logs-0", &[entry(position, 100)]))).unwrap();
    }
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn a_damaged_table_is_no_end() {
    for frame in [0, 4] {
        let dir = tempfile::tempdir().unwrap();
        ten_entries(dir.path());
        flip(&newest(dir.path()), frame * ALIGNMENT as u64 + 30);
        let error = open(dir.path()).err().unwrap();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("frames go on at byte"), "{error}");
    }
    // Even where nothing follows in the same segment, the next one knows.
    let dir = tempfile::tempdir().unwrap();
    ten_entries(dir.path());
    let first = newest(dir.path());
    let mut opened = open(dir.path()).unwrap();
    opened.writer.apply(false, |batch| Ok(batch.put_entries("logs-0", &[entry(11, 100)]))).unwrap();
    drop(opened);
    flip(&first, 9 * ALIGNMENT as u64 + 30);
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    std::fs::remove_file(first).unwrap();
    // The oldest may be gone: all its entries are then known to be trimmed, or the group says so.
    let opened = open(dir.path()).unwrap();
    assert_eq!(held(&opened.disk, "logs-0").len(), 1);
}

#[test]
fn a_database_that_lost_its_groups_is_no_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    ten_entries(dir.path());
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        // RocksDB's own log, of which nothing is in a table yet.
        if path.extension().is_some_and(|extension| extension == "log") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("lost its last writes"), "{error}");
}

#[test]
fn a_directory_is_one_processs() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

/// Entries of the oldest segments are moved, where little else there is wanted. Whatever fails then
/// ends the log like any failed write.
#[test]
fn an_entry_that_cannot_be_moved_is_a_failure_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { disk, mut writer } = open(dir.path()).unwrap();
    for name in ["wanted", "trimmed"] {
        disk.create_family(name).unwrap();
    }
    writer.apply(false, |batch| Ok(batch.put_entries("wanted", &[entry(1, 100)]))).unwrap();
    let oldest = newest(dir.path());
    let mut write = |position| {
        writer.apply(false, |batch| {
            batch.put_entries("trimmed", &[entry(position, 9000)]);
            batch.trim(&"trimmed".into(), 0, position - 1);
            Ok(())
        })
    };
    let begun = (1..100).find(|position| {
        write(*position).unwrap();
        newest(dir.path()) != oldest
    });
    std::fs::OpenOptions::new().write(true).open(&oldest).unwrap().set_len(0).unwrap();
    let failure = (begun.unwrap() + 1..100).find_map(|position| write(position).err());
    assert!(failure.unwrap().ends_with("failed to fill whole buffer"));
}

#[test]
fn logs_of_earlier_releases_are_moved() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = states::open(dir.path()).unwrap();
        db.create_cf("logs-0", &rocksdb::Options::default()).unwrap();
        let family = db.cf_handle("logs-0").unwrap();
        for position in 5u64..500 {
            db.put_cf(&family, position.to_be_bytes(), encoded(&entry(position, 20_000))).unwrap();
        }
    }
    for _ in 0..2 {
        let opened = open(dir.path()).unwrap();
        let held = held(&opened.disk, "logs-0");
        assert_eq!(held.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (5..500).collect::<Vec<_>>());
        assert!(held.iter().all(|(at, record)| *record == encoded(&entry(*at, 20_000))));
    }
    assert_eq!(states::Db::list_cf(&rocksdb::Options::default(), dir.path()).unwrap(), ["default"]);
}
