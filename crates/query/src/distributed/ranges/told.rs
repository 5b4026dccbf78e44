//! Why a share has no answer, as one querier tells another.

use bonghwa_promql::Limits;
use bonghwa_protocol::v1;

use crate::QueryError;
use crate::evaluate::Stop;

/// What there can be too much of, and the key of the configuration that says how much there may be.
const LIMITS: [(&str, &str); 4] = [
    ("series", "query.max_series"),
    ("samples", "query.max_samples"),
    ("points", "query.memory_bytes"),
    (BYTES, "query.memory_bytes"),
];
const BYTES: &str = "bytes of series and samples";

/// What becomes of a share that a querier did not answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It ends the evaluation in shares, whoever evaluates it.
    Stop(Stop),
    /// It is evaluated here.
    Here(String),
}

/// What the asker is told.
pub(super) fn write(stop: Stop) -> v1::RangeError {
    use v1::RangeErrorKind as Kind;
    let error = |kind: Kind, text: String| v1::RangeError { kind: kind.into(), text, ..Default::default() };
    match stop {
        Stop::Whole => error(Kind::Whole, String::new()),
        Stop::Failed(QueryError::Limit { what, reached, limit, .. }) => {
            v1::RangeError { reached, limit, ..error(Kind::Limit, what.to_owned()) }
        }
        Stop::Failed(QueryError::Execution(text)) => error(Kind::Execution, text),
        Stop::Failed(QueryError::Moved(text)) => error(Kind::Moved, text),
        Stop::Failed(other) => error(Kind::Failed, other.to_string()),
    }
}

/// What the asker, who has these limits and so many bytes, makes of it. Limits of others are not the query's.
pub(super) fn read(error: v1::RangeError, limits: Limits, memory_bytes: u64) -> Unanswered {
    use v1::RangeErrorKind as Kind;
    let own = |what: &str| match what {
        "series" => limits.series,
        "samples" => limits.samples,
        "points" => limits.points,
        _ => memory_bytes,
    };
    match error.kind() {
        Kind::Whole => Unanswered::Stop(Stop::Whole),
        Kind::Execution => Unanswered::Stop(Stop::Failed(QueryError::Execution(error.text))),
        Kind::Moved => Unanswered::Stop(Stop::Failed(QueryError::Moved(error.text))),
        Kind::Limit => match LIMITS.iter().find(|(what, _)| *what == error.text) {
            Some((what, key)) if own(what) == error.limit => {
                let v1::RangeError { reached, limit, .. } = error;
                Unanswered::Stop(Stop::Failed(QueryError::Limit { what, reached, limit, key }))
            }
            _ => Unanswered::Here(format!("it may have {} {}", error.limit, error.text)),
        },
        Kind::Failed | Kind::Unspecified => Unanswered::Here(error.text),
    }
}

/// Of parts of an answer that take more memory together than a query may have.
pub(super) fn too_large(reached: u64, memory_bytes: u64) -> QueryError {
    QueryError::Limit { what: BYTES, reached, limit: memory_bytes, key: "query.memory_bytes" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Limits = Limits { samples: 1000, series: 100, points: 10 };

    #[test]
    fn what_is_the_querys_own_fault_stays_so() {
        let limit = |what, limit, key| QueryError::Limit { what, reached: limit + 1, limit, key };
        for error in [
            limit("series", 100, "query.max_series"),
            limit("samples", 1000, "query.max_samples"),
            limit("points", 10, "query.memory_bytes"),
            limit(BYTES, 5000, "query.memory_bytes"),
            QueryError::Execution("many-to-many matching".into()),
            QueryError::Moved("the watermark is behind".into()),
        ] {
            let told = read(write(Stop::Failed(error.clone())), OWN, 5000);
            assert!(matches!(&told, Unanswered::Stop(Stop::Failed(read)) if *read == error), "{error:?}: {told:?}");
        }
        assert!(matches!(read(write(Stop::Whole), OWN, 5000), Unanswered::Stop(Stop::Whole)));
    }

    #[test]
    fn what_is_anothers_is_evaluated_here() {
        for error in [
            QueryError::Limit { what: "series", reached: 51, limit: 50, key: "query.max_series" },
            QueryError::Unavailable("the object store cannot be reached".into()),
            QueryError::Internal("a fault".into()),
            QueryError::Canceled,
        ] {
            let told = read(write(Stop::Failed(error.clone())), OWN, 5000);
            assert!(matches!(told, Unanswered::Here(_)), "{error:?}: {told:?}");
        }
        let unknown = v1::RangeError { kind: 77, ..Default::default() };
        assert!(matches!(read(unknown, OWN, 5000), Unanswered::Here(_)));
        let foreign = v1::RangeError { kind: 2, text: "patience".into(), reached: 2, limit: 5000 };
        assert!(matches!(read(foreign, OWN, 5000), Unanswered::Here(_)));
    }
}
