//! Numbers and texts as bytes.

/// Bytes that end too soon, or hold a number or a text that is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

/// Bytes that are written.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<u8>);

impl Output {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// A varint: 7 bits a byte, the lowest first; the highest bit says that more follow.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// The same of a number with a sign, which goes into the lowest bit.
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    pub(super) fn float(&mut self, float: f64) {
        self.0.extend_from_slice(&float.to_bits().to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes that are read; nothing is made of more than there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Unreadable> {
        let count = usize::try_from(count).map_err(|_| Unreadable)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take(1)?.first().copied().ok_or(Unreadable)
    }

    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Unreadable);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Unreadable> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn float(&mut self) -> Result<f64, Unreadable> {
        let bytes = self.take(8)?.try_into().map_err(|_| Unreadable)?;
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    /// So many floats.
    pub(super) fn floats(&mut self, count: u64) -> Result<impl Iterator<Item = f64> + use<'a>, Unreadable> {
        let (floats, _) = self.take(count.checked_mul(8).ok_or(Unreadable)?)?.as_chunks::<8>();
        Ok(floats.iter().map(|bytes| f64::from_bits(u64::from_le_bytes(*bytes))))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_survive() {
        for number in [0, 1, -1, 63, 64, -64, 300, i64::MAX, i64::MIN] {
            let mut out = Output::default();
            out.signed(number);
            out.number(number as u64);
            let bytes = out.finish();
            let mut input = Input::new(&bytes);
            assert_eq!((input.signed().unwrap(), input.number().unwrap()), (number, number as u64));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert!(Input::new(bytes).number().is_err(), "{bytes:?}");
        }
        assert!(Input::new(&[3, b'a', b'b']).text().is_err());
        assert!(Input::new(&[1, 0xff]).text().is_err());
        assert!(Input::new(&[0; 15]).floats(2).is_err());
        assert!(Input::new(&[0; 15]).floats(u64::MAX).is_err());
    }
}
