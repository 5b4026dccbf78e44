//! The files of segments: written past the page cache, each write durable when it returns; read
//! through it. What is written lies in blocks that the file has already, so that a sync changes nothing
//! of the file system: zeros are written ahead, and files are used again once nothing in them is wanted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{ALIGNMENT, Draft, Item, misalignment};

/// Bytes of zeros that are written ahead at once.
const AHEAD: usize = 4 << 20;
/// Bytes of zeros in one write.
const ZEROS: usize = 1 << 20;
/// Files that are kept to be used again.
const MAX_SPARES: usize = 4;
/// What their names begin with.
const SPARE: &str = "spare-";

/// A segment as it is read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub path: PathBuf,
    pub file: File,
}

impl Segment {
    pub fn open(path: PathBuf, number: u64) -> io::Result<Self> {
        let file = File::open(&path)?;
        Ok(Self { number, path, file })
    }

    /// Reads bytes that are there.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// A frame that was written.
pub(crate) struct Written {
    pub segment: u64,
    /// With the offsets of their records in the segment.
    pub items: Vec<(Item, u64)>,
    /// Where the frame ends.
    pub end: u64,
}

/// Writes frames, and begins segments.
pub(crate) struct SegmentWriter {
    directory: PathBuf,
    segment_bytes: u64,
    direct: bool,
    current: Option<Current>,
    next: u64,
    /// The last segment with frames, and where they end.
    before: Option<(u64, u64)>,
    spares: Vec<PathBuf>,
    buffer: Vec<u8>,
    zeros: Vec<u8>,
}

struct Current {
    number: u64,
    /// Whose writes are durable when they return.
    file: File,
    /// Whose writes are not.
    filler: File,
    offset: u64,
    /// Up to where the file has blocks.
    filled: u64,
    capacity: u64,
}

impl SegmentWriter {
    /// A writer of segments of so many bytes, but for larger frames; `direct`: whether to pass by the
    /// page cache, where it is known.
    pub fn new(directory: PathBuf, segment_bytes: u64, direct: Option<bool>) -> io::Result<Self> {
        let direct = direct.unwrap_or_else(|| can_direct_io(&directory));
        let mut spares = Vec::new();
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(SPARE)) {
                spares.push(entry.path());
            }
        }
        let (current, next, before, buffer, zeros) = (None, 0, None, Vec::new(), Vec::new());
        Ok(Self { directory, segment_bytes, direct, current, next, before, spares, buffer, zeros })
    }

    /// Goes on after the segments that were found: the last number in use, and the last segment with
    /// frames and their end.
    pub fn follow(&mut self, last: Option<u64>, before: Option<(u64, u64)>) {
        self.next = last.map_or(0, |last| last + 1);
        self.before = before;
    }

    /// The number of the segment that is written; of the next one, where none is.
    pub fn current(&self) -> u64 {
        self.current.as_ref().map_or(self.next, |current| current.number)
    }

    /// Whether a segment was begun since the start.
    pub fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Writes a frame; it is durable. Also the segment that was begun for it, if one was.
    pub fn append(&mut self, mut draft: Draft) -> io::Result<(Written, Option<Arc<Segment>>)> {
        let most = draft.len() as u64;
        let full = self.current.as_ref().is_none_or(|current| current.offset + most > current.capacity);
        let mut begun = None;
        if full {
            begun = Some(self.begin(most)?);
            if let Some((segment, end)) = self.before {
                draft.push_first(Item::Follows { segment, end });
            }
        }
        let Some(current) = &mut self.current else { return Err(io::Error::other("no segment was begun")) };
        if current.offset + most > current.filled {
            current.fill(most, &mut self.zeros)?;
        }
        let (start, mut items) = draft.encode(current.number, &mut self.buffer);
        let frame = &self.buffer[start..];
        current.file.write_all_at(frame, current.offset)?;
        if !self.direct {
            current.file.sync_data()?;
        }
        items.iter_mut().for_each(|(_, offset)| *offset += current.offset);
        current.offset += frame.len() as u64;
        let written = Written { segment: current.number, items, end: current.offset };
        self.before = Some((written.segment, written.end));
        // A large frame should not keep its memory for good.
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        Ok((written, begun))
    }

    /// Begins a segment with room for a frame.
    fn begin(&mut self, frame: u64) -> io::Result<Arc<Segment>> {
        let number = self.next;
        let path = self.directory.join(file_name(number));
        match self.spares.pop() {
            Some(spare) => std::fs::rename(spare, &path)?,
            None => drop(File::create_new(&path)?),
        }
        let open = |flags: i32| {
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(if self.direct { flags } else { 0 }).open(&path)
        };
        let (file, filler) = (open(flags::DIRECT | flags::DSYNC)?, open(flags::DIRECT)?);
        let capacity = self.segment_bytes.max(frame + ALIGNMENT as u64);
        // Files are filled from their beginning: as many blocks as one has, so far it is filled.
        let metadata = file.metadata()?;
        let filled = metadata.len().min(metadata.blocks() * 512) / ALIGNMENT as u64 * ALIGNMENT as u64;
        // The name must last, before a frame does.
        sync_directory(&self.directory)?;
        self.next = number + 1;
        self.current = Some(Current { number, file, filler, offset: 0, filled, capacity });
        Ok(Arc::new(Segment::open(path, number)?))
    }

    /// Takes the files of segments that were given up: to use them again, if nobody reads them.
    pub fn recycle(&mut self, segments: Vec<Arc<Segment>>) -> io::Result<()> {
        for segment in segments {
            match Arc::try_unwrap(segment) {
                Ok(segment) if self.spares.len() < MAX_SPARES => {
                    let spare = self.directory.join(format!("{SPARE}{:016x}", segment.number));
                    std::fs::rename(segment.path, &spare)?;
                    self.spares.push(spare);
                }
                Ok(segment) => std::fs::remove_file(segment.path)?,
                // Readers keep what they have open.
                Err(segment) => std::fs::remove_file(&segment.path)?,
            }
        }
        // Or a later segment could lose its name before an older one does.
        sync_directory(&self.directory)
    }
}

impl Current {
    /// Gives the file blocks for so many bytes from the offset on, and for some more: durable with the
    /// next frame, which is as soon as it matters.
    fn fill(&mut self, bytes: u64, zeros: &mut Vec<u8>) -> io::Result<()> {
        let end = (self.offset + bytes).max(self.capacity.min(self.filled + AHEAD as u64));
        let start = aligned_zeros(zeros);
        while self.filled < end {
            let length = ((end - self.filled) as usize).min(ZEROS).next_multiple_of(ALIGNMENT);
            self.filler.write_all_at(&zeros[start..start + length], self.filled)?;
            self.filled += length as u64;
        }
        Ok(())
    }
}

fn file_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// Makes the buffer hold [`ZEROS`] zeros; where they begin, so that they are aligned.
fn aligned_zeros(zeros: &mut Vec<u8>) -> usize {
    zeros.resize(ZEROS + ALIGNMENT, 0);
    misalignment(zeros)
}

/// The segments' files in a directory, by number.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// `open(2)`'s flags, where they are known; elsewhere writes go through the page cache.
mod flags {
    const KNOWN: bool =
        cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")));
    pub const DIRECT: i32 = match KNOWN {
        true if cfg!(target_arch = "aarch64") => 0x1_0000,
        true => 0x4000,
        false => 0,
    };
    pub const DSYNC: i32 = if KNOWN { 0x1000 } else { 0 };
}

/// Whether files here can be written past the page cache; a memory file system cannot.
fn can_direct_io(directory: &Path) -> bool {
    if flags::DIRECT == 0 {
        return false;
    }
    let probe = directory.join("direct-io-probe");
    let mut options = OpenOptions::new();
    let can = options.write(true).create(true).truncate(true).custom_flags(flags::DIRECT).open(&probe).is_ok();
    // Left behind only where it could not be made.
    let _ = std::fs::remove_file(probe);
    can
}
