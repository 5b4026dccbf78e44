//! Turning a watch stream's events into catalogs. Pure: the stream is the view's.

use std::sync::Arc;

use bonghwa_protocol::v1;
use bonghwa_protocol::v1::event::Kind;

use crate::{Catalog, ClusterError};

/// Applies one watch stream's events to a copy of the catalog.
#[derive(Debug, Default)]
pub struct Follower {
    current: Arc<Catalog>,
    /// A snapshot of which more pieces are to come.
    partial: Option<Catalog>,
}

impl Follower {
    /// Goes on from a catalog.
    pub fn new(current: Arc<Catalog>) -> Self {
        Follower { current, partial: None }
    }

    /// The copy.
    pub fn current(&self) -> &Arc<Catalog> {
        &self.current
    }

    /// Takes the next event; the new catalog, unless more of a snapshot is to come.
    /// A snapshot may go back in version (meta was restored), a change may not
    /// leave one out: after an error, start a new stream from version 0.
    pub fn take(&mut self, event: &v1::Event) -> Result<Option<&Arc<Catalog>>, ClusterError> {
        let next = match &event.kind {
            Some(Kind::Snapshot(piece)) => {
                let mut partial = match self.partial.take() {
                    Some(partial) if partial.version() != piece.version => {
                        return Err(ClusterError::Piece { have: partial.version(), got: piece.version });
                    }
                    Some(partial) => partial,
                    None => Catalog::default(),
                };
                partial.add_piece(piece);
                if piece.continues {
                    self.partial = Some(partial);
                    return Ok(None);
                }
                partial.complete();
                partial
            }
            Some(Kind::Change(change)) => match self.partial.take() {
                Some(partial) => return Err(ClusterError::Piece { have: partial.version(), got: event.version }),
                None => self.current.apply(event.version, change)?,
            },
            None => return Err(ClusterError::UnknownEvent(event.version)),
        };
        self.current = Arc::new(next);
        Ok(Some(&self.current))
    }
}
