//! Closing deletes that have been carried out.

use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;

use crate::CompactorError;
use crate::lease::Commands;
use crate::plan::may_hold;

/// Closes the deletes whose rows no block holds any more; what is in no block yet came after them. How many.
pub(crate) async fn close(commands: &Commands) -> Result<u64, CompactorError> {
    let catalog = commands.view.current();
    let mut closed = 0;
    for delete in catalog.deletes() {
        if catalog.blocks().any(|block| may_hold(block, delete)) {
            continue;
        }
        match commands.run(Kind::RemoveDelete(v1::RemoveDelete { id: delete.id })).await? {
            Ok(result) => commands.follow(result.version).await?,
            Err(rejection) => {
                return Err(CompactorError::Refused { command: "RemoveDelete", message: rejection.message });
            }
        };
        tracing::info!(id = delete.id, tenant = delete.tenant, "a delete is carried out on all blocks");
        closed += 1;
    }
    Ok(closed)
}
