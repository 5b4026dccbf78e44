//! Reading segments at the start: their tables, not their records.
//!
//! A frame is written once the one before it is durable. So of all frames only the last of the last
//! segment can be there in part, and it was never acknowledged: it is passed over. Damage anywhere
//! else is an error. That no whole frame is missing is known too: the first frame of a segment says
//! where the one before it ends.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::files::{Segment, SegmentWriter, list, sync_directory};
use super::frame::{ALIGNMENT, Header, Item, read_table};
use super::index::Index;
use crate::codec::Malformed;
use crate::{Error, record};

/// A frame whose table is whole.
struct Frame {
    /// With the offsets of their records in the segment.
    items: Vec<(Item, u64)>,
    offset: u64,
    end: u64,
}

/// Reads all segments of a directory into an index, and lets the writer go on behind them.
pub(crate) fn replay(directory: &Path, index: &mut Index, writer: &mut SegmentWriter) -> Result<(), Error> {
    let storage = |e| Error::storage(&directory.display().to_string(), e);
    let mut segments = Vec::new();
    let mut last = None;
    for (number, path) in list(directory).map_err(storage)? {
        last = Some(number);
        let segment = Segment::open(path, number).map_err(storage)?;
        match read_frame(&segment, 0)? {
            Some(first) => segments.push((segment, first.follows())),
            None => drop_empty(directory, &segment)?,
        }
    }
    let mut before: Option<(u64, u64)> = None;
    let follows: Vec<_> = segments.iter().map(|(_, follows)| *follows).collect();
    for (at, (segment, own)) in segments.into_iter().enumerate() {
        if before.is_some() && own.map(|(number, _)| number) != before.map(|(number, _)| number) {
            return Err(corrupt(&segment, 0, "the segment before it is missing"));
        }
        // The next segment tells where this one ends.
        let end = follows.get(at + 1).map(|next| next.map(|(_, end)| end).unwrap_or_default());
        let frames = read_frames(&segment, end)?;
        let number = segment.number;
        let Some(last) = frames.last() else {
            drop_empty(directory, &segment)?;
            continue;
        };
        before = Some((number, last.end));
        index.add_segment(Arc::new(segment));
        for frame in frames {
            index.apply(number, frame.items, frame.end);
        }
    }
    writer.follow(last, before);
    Ok(())
}

/// Deletes a segment that was begun, and to which nothing was written whole.
fn drop_empty(directory: &Path, segment: &Segment) -> Result<(), Error> {
    if let Some(later) = later_frame(segment, 0)? {
        return Err(corrupt(segment, 0, &format!("a frame is damaged; frames go on at byte {later}")));
    }
    let dropped = std::fs::remove_file(&segment.path).and_then(|()| sync_directory(directory));
    dropped.map_err(|e| storage(segment, e))
}

impl Frame {
    fn follows(&self) -> Option<(u64, u64)> {
        self.items.iter().find_map(|(item, _)| match item {
            Item::Follows { segment, end } => Some((*segment, *end)),
            _ => None,
        })
    }
}

/// The frames of a segment, up to the end that the next segment tells; without one, up to the last
/// that is whole.
fn read_frames(segment: &Segment, end: Option<u64>) -> Result<Vec<Frame>, Error> {
    let mut frames = Vec::new();
    let mut offset = 0;
    while end.is_none_or(|end| offset < end)
        && let Some(frame) = read_frame(segment, offset)?
    {
        offset = frame.end;
        frames.push(frame);
    }
    if let Some(end) = end {
        return match offset == end {
            true => Ok(frames),
            false => Err(corrupt(segment, offset, &format!("a frame is damaged; frames go on to byte {end}"))),
        };
    }
    if let Some(later) = later_frame(segment, offset)? {
        return Err(corrupt(segment, offset, &format!("a frame is damaged; frames go on at byte {later}")));
    }
    if let Some(last) = frames.last()
        && !is_whole(segment, last)?
    {
        tracing::info!(segment = %segment.path.display(), offset = last.offset, "passing over a last write that was cut short");
        frames.pop();
    }
    Ok(frames)
}

/// The frame at an offset; none where there is no whole table.
fn read_frame(segment: &Segment, offset: u64) -> Result<Option<Frame>, Error> {
    let Some(header) = read_header(segment, offset)? else { return Ok(None) };
    let size = segment.file.metadata().map_err(|e| storage(segment, e))?.len();
    if offset + header.frame() > size {
        return Ok(None);
    }
    let bytes = segment.read(offset, header.records_at() as usize).map_err(|e| storage(segment, e))?;
    let items = match read_table(&Bytes::from(bytes)) {
        Ok(items) => items,
        Err(e @ Malformed::Version(..)) => return Err(corrupt(segment, offset, &e.to_string())),
        Err(_) => return Ok(None),
    };
    let mut at = offset + header.records_at();
    let place = |item: Item| {
        let own = at;
        at += item.length();
        (item, own)
    };
    Ok(Some(Frame { items: items.into_iter().map(place).collect(), offset, end: offset + header.frame() }))
}

fn read_header(segment: &Segment, offset: u64) -> Result<Option<Header>, Error> {
    let mut bytes = [0; Header::LEN];
    match segment.file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Header::read(&bytes).filter(|header| header.segment == segment.number)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(storage(segment, e)),
    }
}

/// Whether all records of a frame are there.
fn is_whole(segment: &Segment, frame: &Frame) -> Result<bool, Error> {
    for (item, offset) in &frame.items {
        let (Item::Entry { position, length, .. } | Item::Moved { position, length, .. }) = item else { continue };
        let bytes = segment.read(*offset, *length as usize).map_err(|e| storage(segment, e))?;
        if record::decode(*position, bytes.into()).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first whole frame after an offset at which there is none.
fn later_frame(segment: &Segment, offset: u64) -> Result<Option<u64>, Error> {
    let size = segment.file.metadata().map_err(|e| storage(segment, e))?.len();
    let mut offset = offset + ALIGNMENT as u64;
    while offset < size {
        if read_frame(segment, offset)?.is_some() {
            return Ok(Some(offset));
        }
        offset += ALIGNMENT as u64;
    }
    Ok(None)
}

fn storage(segment: &Segment, error: std::io::Error) -> Error {
    Error::storage(&segment.path.display().to_string(), error)
}

fn corrupt(segment: &Segment, offset: u64, what: &str) -> Error {
    Error::corrupt(&segment.path.display().to_string(), None, format!("byte {offset}: {what}"))
}
