//! References into a batch's arena: offset and length in one `u64`.

/// Where a byte string lies in an arena: offset in the high, length in the low 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Ref(pub u64);

impl Ref {
    /// The empty string.
    pub const EMPTY: Ref = Ref(0);

    /// Whether it refers to no bytes.
    pub fn is_empty(self) -> bool {
        self.0 as u32 == 0
    }

    fn range(self) -> std::ops::Range<usize> {
        let start = (self.0 >> 32) as usize;
        start..start + (self.0 as u32) as usize
    }
}

/// The bytes of all strings of a batch. At most 4 GiB, which the limits on request
/// size (see `wire`) and on merged batches keep far away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arena {
    bytes: Vec<u8>,
}

impl Arena {
    /// An arena with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Arena { bytes: Vec::with_capacity(capacity) }
    }

    /// Wraps bytes that references already point into.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Arena { bytes }
    }

    /// All bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Lets go of room for more.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies `value` in.
    #[inline]
    pub fn push(&mut self, value: &[u8]) -> Ref {
        if value.is_empty() {
            return Ref::EMPTY;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        Ref(((start as u64) << 32) | value.len() as u64)
    }

    /// Lets `write` append bytes and refers to what it appended.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Ref {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - start;
        if len == 0 { Ref::EMPTY } else { Ref(((start as u64) << 32) | len as u64) }
    }

    /// Refers to all that was pushed since the arena had `start` bytes.
    pub fn since(&self, start: usize) -> Ref {
        match self.bytes.len().saturating_sub(start) {
            0 => Ref::EMPTY,
            len => Ref(((start as u64) << 32) | len as u64),
        }
    }

    /// Drops all but the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The bytes of a reference; empty if it lies outside (`codec::decode` rejects such batches).
    #[inline]
    pub fn bytes(&self, r: Ref) -> &[u8] {
        self.bytes.get(r.range()).unwrap_or_default()
    }

    /// The text of a reference. Writers only push valid UTF-8 where text is read;
    /// anything else reads as empty.
    #[inline]
    pub fn str(&self, r: Ref) -> &str {
        std::str::from_utf8(self.bytes(r)).unwrap_or_default()
    }

    /// Whether a reference lies inside.
    pub fn contains(&self, r: Ref) -> bool {
        r.range().end <= self.bytes.len()
    }
}
