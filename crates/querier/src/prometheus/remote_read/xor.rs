//! Chunks of floats as Prometheus' storage encodes them (`tsdb/docs/format/chunks.md`, "XOR chunk data"):
//! times as changes of their distance, values by the bits that differ from the value before.

/// Encodes samples, at most 65,535, sorted by time.
pub(super) fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut out = Bits::default();
    out.bits(times.len() as u64, 16);
    let (mut time, mut distance) = (0i64, 0i64);
    let mut value = Value::default();
    for (number, (next, float)) in times.iter().zip(values).enumerate() {
        match number {
            0 => out.varint(zigzag(*next)),
            1 => {
                distance = next.wrapping_sub(time);
                out.varint(distance as u64);
            }
            _ => {
                let change = next.wrapping_sub(time).wrapping_sub(distance);
                distance = next.wrapping_sub(time);
                out.change(change);
            }
        }
        time = *next;
        value.write(&mut out, float.to_bits(), number == 0);
    }
    out.bytes
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// Bits, the highest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of a number.
    fn bits(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (number >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bits(number | 0x80, 8);
            number >>= 7;
        }
        self.bits(number, 8);
    }

    /// A change of distance: how many bits it takes, and those.
    fn change(&mut self, change: i64) {
        let fits = |bits: u32| (-((1i64 << (bits - 1)) - 1)..=1i64 << (bits - 1)).contains(&change);
        match change {
            0 => self.bits(0, 1),
            _ if fits(14) => {
                self.bits(0b10, 2);
                self.bits(change as u64, 14);
            }
            _ if fits(17) => {
                self.bits(0b110, 3);
                self.bits(change as u64, 17);
            }
            _ if fits(20) => {
                self.bits(0b1110, 4);
                self.bits(change as u64, 20);
            }
            _ => {
                self.bits(0b1111, 4);
                self.bits(change as u64, 64);
            }
        }
    }
}

/// The value before, and which bits of the last difference were written.
#[derive(Default)]
struct Value {
    bits: u64,
    window: Option<(u32, u32)>,
}

impl Value {
    fn write(&mut self, out: &mut Bits, bits: u64, first: bool) {
        let differs = self.bits ^ bits;
        self.bits = bits;
        if first {
            return out.bits(bits, 64);
        }
        if differs == 0 {
            return out.bits(0, 1);
        }
        out.bits(1, 1);
        // Five bits say how many zeros lead.
        let (leading, trailing) = (differs.leading_zeros().min(31), differs.trailing_zeros());
        match self.window {
            Some((known_leading, known_trailing)) if leading >= known_leading && trailing >= known_trailing => {
                out.bits(0, 1);
                out.bits(differs >> known_trailing, 64 - known_leading - known_trailing);
            }
            _ => {
                self.window = Some((leading, trailing));
                let significant = 64 - leading - trailing;
                out.bits(1, 1);
                out.bits(leading.into(), 5);
                // 64 is written as 0: no difference has none.
                out.bits(significant.into(), 6);
                out.bits(differs >> trailing, significant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, from the description of the format.
    #[test]
    fn chunks_are_encoded_as_described() {
        // One sample: the count, the time as a zigzag varint, the bits of the value.
        let one = encode(&[1], &[1.0]);
        assert_eq!(one, [0, 1, 2, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        // The second: its distance, and one bit for the same value.
        let two = encode(&[1, 61], &[1.0, 1.0]);
        assert_eq!(two[..2], [0, 2]);
        assert_eq!(two[11..], [60, 0]);
        // The third at the same distance: one more bit, and one for the value.
        let three = encode(&[1, 61, 121], &[1.0, 1.0, 1.0]);
        assert_eq!(three[11..], [60, 0]);
        // A distance that grew by 1 takes 2 + 14 bits after the bit of the second value.
        let late = encode(&[1, 61, 122], &[1.0, 1.0, 1.0]);
        assert_eq!(late[11..], [60, 0b0100_0000, 0b0000_0000, 0b1000_0000]);
        // 1.0 and 2.0 differ in the highest ten bits of the exponent: leading 1, significant 11.
        let values = encode(&[1, 61], &[1.0, 2.0]);
        let differs = 1.0f64.to_bits() ^ 2.0f64.to_bits();
        assert_eq!((differs.leading_zeros(), differs.trailing_zeros()), (1, 52));
        assert_eq!(values[12..], [0b1100_0010, 0b0101_1111, 0b1111_1111]);
        assert_eq!(encode(&[], &[]), [0, 0]);
    }
}
