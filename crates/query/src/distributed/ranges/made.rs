//! What comes of a share: the answer at some steps, or folds of some series.

use bonghwa_promql::{Answer, DecodeError, Decoder, FoldDecoder};

use super::ask::Part;
use crate::fold::Folded;

/// A share that was evaluated.
pub(super) enum Made {
    Answer(Answer),
    Folded(Folded),
}

impl Made {
    pub(super) fn as_answer(&self) -> Option<&Answer> {
        if let Made::Answer(answer) = self { Some(answer) } else { None }
    }

    pub(super) fn answer(self) -> Option<Answer> {
        if let Made::Answer(answer) = self { Some(answer) } else { None }
    }

    pub(super) fn folded(self) -> Option<Folded> {
        if let Made::Folded(folded) = self { Some(folded) } else { None }
    }
}

/// A share that another querier evaluates, while it comes.
pub(super) enum Reading {
    Answer(Decoder),
    Folded { decoder: FoldDecoder, divisible: bool },
}

impl Reading {
    /// Of a query of this step; it holds at most so many bytes.
    pub(super) fn new(part: Part<'_>, step_ms: i64, most_bytes: u64) -> Self {
        match part {
            Part::Steps(from, to) => Reading::Answer(Decoder::new((from, to), step_ms, most_bytes)),
            Part::Series { evaluation, .. } => {
                Reading::Folded { decoder: evaluation.decoder(most_bytes), divisible: true }
            }
        }
    }

    /// Bytes that it holds, about.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Reading::Answer(decoder) => decoder.bytes(),
            Reading::Folded { decoder, .. } => decoder.bytes(),
        }
    }

    /// Takes in the next part. `whole`: steps are not to be evaluated apart.
    pub(super) fn push(&mut self, part: &[u8], whole: bool) -> Result<(), DecodeError> {
        match self {
            Reading::Answer(decoder) => decoder.push(part),
            Reading::Folded { decoder, divisible } => {
                *divisible &= !whole;
                decoder.push(part)
            }
        }
    }

    pub(super) fn finish(self) -> Result<Made, DecodeError> {
        Ok(match self {
            Reading::Answer(decoder) => Made::Answer(decoder.finish()?),
            Reading::Folded { decoder, divisible } => {
                Made::Folded(Folded { folds: decoder.finish()?, few: false, divisible })
            }
        })
    }
}
