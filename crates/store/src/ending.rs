//! The end of a commit's transaction: committed, given up, or lost on the way.

use sqlx::Transaction;

use super::{
    Error, MayCommit,
    dialect::Dialect,
    failure::Failure,
    ownership::{Advance, Claim},
};

/// Commits `transaction` if all that it was to do is `applied` and `may_commit` says that it is still wanted, and rolls
/// it back otherwise.
pub(super) async fn end<DB: Dialect, T>(
    transaction: Transaction<'_, DB>,
    applied: Result<(Advance, T), Failure>,
    claim: &mut Claim,
    may_commit: MayCommit<'_>,
) -> Result<T, Failure> {
    let wanted = applied.and_then(|applied| if may_commit() { Ok(applied) } else { Err(Error::Withdrawn.into()) });
    let (advance, done) = match wanted {
        Ok(wanted) => wanted,
        Err(failure) => {
            // The database may have rolled back by itself; the failure says more than that.
            let _ = transaction.rollback().await;
            return Err(failure);
        }
    };
    claim.committing(advance);
    let committed = transaction.commit().await;
    if let Err(sqlx::Error::Database(answer)) = &committed
        && DB::is_undone(&**answer)
    {
        claim.failed(advance);
    }
    committed?;
    claim.committed(advance);
    Ok(done)
}
