//! Page tokens: opaque to the caller, and valid only with the query that they came from.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use lrs_model::violation::Violations;

/// Longer than any token that was ever given out.
const MAX_TOKEN_BYTES: usize = 2048;

#[derive(Serialize, Deserialize)]
struct Token<C> {
    /// The fingerprint of the query. Another release may compute it differently; a listing under way must then begin
    /// again.
    fingerprint: u64,
    cursor: C,
}

/// The token that asks for the page after `cursor`.
#[must_use]
pub fn write<C: Serialize>(query: &impl Hash, cursor: C) -> String {
    let token = Token { fingerprint: fingerprint(query), cursor };
    // A cursor is a plain value, whose JSON cannot fail; an empty token would end the listing.
    serde_json::to_vec(&token).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
}

/// The place where the page begins; `None` for the beginning. Notes a violation of `page_token` if the token is not one
/// of this query.
pub fn read<C: DeserializeOwned>(violations: &mut Violations, token: &str, query: &impl Hash) -> Option<C> {
    if token.is_empty() {
        return None;
    }
    let Some(read) = decode::<C>(token) else {
        violations.add(
            "page_token",
            "is not a token that this server gave out: write the `next_page_token` of the page before, or leave it out",
        );
        return None;
    };
    if read.fingerprint != fingerprint(query) {
        violations.add(
            "page_token",
            "belongs to another query: keep all other fields as they were, or begin without a token",
        );
        return None;
    }
    Some(read.cursor)
}

fn decode<C: DeserializeOwned>(token: &str) -> Option<Token<C>> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(token).ok()?;
    serde_json::from_slice(&json).ok()
}

fn fingerprint(query: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_cursor() {
        let token = write(&("jobs", "filter"), ("größe".to_owned(), 7_u64));
        let mut violations = Violations::new();
        let cursor: Option<(String, u64)> = read(&mut violations, &token, &("jobs", "filter"));
        assert_eq!(cursor, Some(("größe".to_owned(), 7)));
        assert!(violations.is_empty());
    }

    #[test]
    fn no_token_is_the_beginning() {
        let mut violations = Violations::new();
        assert_eq!(read::<u64>(&mut violations, "", &"query"), None);
        assert!(violations.is_empty());
    }

    #[test]
    fn a_token_of_another_query_or_of_nobody_is_refused() {
        let token = write(&"a query", 7_u64);
        for (token, query) in [(token.as_str(), "another"), ("%%%", "a query"), ("AAAA", "a query")] {
            let mut violations = Violations::new();
            assert_eq!(read::<u64>(&mut violations, token, &query), None);
            assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["page_token"], "{token}");
        }
        let mut violations = Violations::new();
        read::<u64>(&mut violations, &"A".repeat(MAX_TOKEN_BYTES + 1), &"a query");
        assert_eq!(violations.len(), 1);
    }
}
