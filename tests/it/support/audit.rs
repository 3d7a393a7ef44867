//! Keys of an audit trail, and what tests do with its chain.

use keywheel::model::audit_chain::{AnchorKey, AuditKeys, Broken, ChainKey, Link, Verifier};
use keywheel::store::Store;
use zeroize::Zeroizing;

/// The keys of every trail in tests.
pub(crate) fn audit_keys() -> AuditKeys {
    AuditKeys {
        store: "a store of the tests".to_owned(),
        chain: ChainKey::from_bytes([7; 32]),
        anchor: AnchorKey::from_seed(&Zeroizing::new([5; 32])).expect("a key"),
    }
}

/// Seals whatever is unsealed, in chunks of so many: how many rows.
pub(crate) async fn seal_all(store: &Store, chunk: i64) -> u64 {
    let keys = audit_keys();
    let mut all = 0;
    loop {
        let mut tx = store.begin().await.expect("a transaction");
        let sealed = tx.seal_audit(&keys.chain, chunk).await.expect("sealed");
        tx.commit().await.expect("committed");
        all += sealed;
        if sealed == 0 {
            return all;
        }
    }
}

/// Verifies the whole chain of a store against anchors: the newest link.
pub(crate) async fn verified(store: &Store, anchors: &[Link]) -> Result<Link, Broken> {
    let keys = audit_keys();
    let verifier = Verifier::new(&keys.chain, Link::START);
    let mut verifier = verifier.anchored(anchors.iter().copied())?;
    // In small parts, so that their seams are tried too.
    while !store.verify_audit(&mut verifier, 7).await.expect("read")? {}
    Ok(verifier.last())
}
