//! The stores: each is a folder with its migrations, and a row in [`KINDS`].

mod postgres;
pub(super) mod sqlite;

use super::kind::Kind;

/// Every kind of database. Where no database is set, the first that needs no server is used.
pub(super) const KINDS: &[&Kind] = &[&sqlite::KIND, &postgres::KIND];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_kinds_have_the_same_migrations() {
        let of = |kind: &Kind| -> Vec<_> {
            kind.migrations.iter().map(|migration| (migration.version, migration.description.clone())).collect()
        };
        for kind in KINDS {
            assert_eq!(of(kind), of(KINDS[0]), "{kind:?}");
        }
    }

    #[test]
    fn a_scheme_belongs_to_one_kind_and_an_example_to_its_own() {
        let mut schemes = HashSet::new();
        for kind in KINDS {
            assert!(kind.schemes.iter().all(|scheme| schemes.insert(*scheme)), "{kind:?}");
            let (scheme, _) = kind.example.split_once(':').unwrap();
            assert!(kind.schemes.contains(&scheme), "{kind:?}");
            assert!((kind.locate)(kind.example).is_ok(), "{kind:?}");
        }
    }
}
