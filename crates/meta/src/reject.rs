//! Rejections: why the catalog does not allow a command, in a sentence that names
//! the field, its value and the remedy.

use bonghwa_protocol::v1;
use bonghwa_protocol::v1::RejectionReason;

/// What a command did: the change it made (none if all was so already) and what
/// it answers; or why it was refused.
pub(crate) type Verdict = Result<Done, v1::Rejection>;

/// An accepted command.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub change: Option<v1::Change>,
    pub outcome: Option<v1::command_result::Outcome>,
}

impl Done {
    pub(crate) fn node(node: v1::Node, changed: bool) -> Self {
        let change = changed.then(|| v1::Change { nodes: vec![node.clone()], ..Default::default() });
        Done { change, outcome: Some(v1::command_result::Outcome::Node(node)) }
    }

    pub(crate) fn partition(partition: v1::Partition, change: Option<v1::Change>) -> Self {
        Done { change, outcome: Some(v1::command_result::Outcome::Partition(partition)) }
    }
}

fn reject(reason: RejectionReason, message: String) -> v1::Rejection {
    v1::Rejection { reason: reason.into(), message, watermark: 0 }
}

pub(crate) fn invalid(message: impl Into<String>) -> v1::Rejection {
    reject(RejectionReason::Invalid, message.into())
}

pub(crate) fn conflict(message: impl Into<String>) -> v1::Rejection {
    reject(RejectionReason::Conflict, message.into())
}

pub(crate) fn not_found(message: impl Into<String>) -> v1::Rejection {
    reject(RejectionReason::NotFound, message.into())
}

pub(crate) fn no_partition(name: &str) -> v1::Rejection {
    let message = format!("partition is {name:?}, which the catalog does not have: name one that `bonghwa ring` lists");
    reject(RejectionReason::NotFound, message)
}

pub(crate) fn no_node(id: u64) -> v1::Rejection {
    let message = format!("node is {id}, which the catalog does not have: name one that `bonghwa ring` lists");
    reject(RejectionReason::NotFound, message)
}

pub(crate) fn stale(partition: &v1::Partition, from: u64) -> v1::Rejection {
    let v1::Partition { name, watermark, .. } = partition;
    let message = format!(
        "from is {from}, but partition {name} is flushed up to {watermark}: flush what lies after {watermark} instead"
    );
    v1::Rejection { watermark: *watermark, ..reject(RejectionReason::StaleWatermark, message) }
}
