//! Transactions that the zone's control plane makes itself.

use higuma_model::{Check, Operation, Owner, Terms, Transaction};
use higuma_store::WriteError;

use crate::zone::{Zone, now, random};

impl Zone {
    /// Writes operations on resources of this zone, or a batch from the global.
    pub(crate) async fn write(
        &self,
        checks: Vec<Check>,
        operations: Vec<Operation>,
    ) -> Result<u64, WriteError> {
        let at = now();
        let transaction = Transaction {
            id: self.store.snapshot().request_id(at, random()),
            at,
            writer: Owner::Zone(self.name.clone()),
            demands: Vec::new(),
            checks,
            operations,
            terms: Terms::default(),
        };
        self.store.write(&transaction).await
    }
}
