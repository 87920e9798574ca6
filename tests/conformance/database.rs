//! An empty database of any kind for a test.

use std::sync::Arc;

use lrs_store::{DatabaseUrl, Error, Kind, Store};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, any::install_default_drivers};
use tempfile::TempDir;

use crate::postgres_server::TestPostgres;

/// An empty database.
pub struct TestDatabase {
    pub url: DatabaseUrl,
    pub address: String,
    _directory: TempDir,
}

impl TestDatabase {
    /// A new database: in a file, or of a server that was started for these tests.
    pub async fn new(kind: &'static Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data größe");
        let address = match kind.url_in(path.to_str().unwrap()) {
            Some(url) => url,
            None => TestPostgres::shared().create_database().await,
        };
        let url: DatabaseUrl = address.parse().unwrap();
        assert_eq!(url.kind().name, kind.name, "a server of this kind has to be started here");
        Self { url, address, _directory: directory }
    }

    /// A new database of the kind with this name.
    pub async fn of(name: &str) -> Self {
        let kind = lrs_store::kinds().iter().find(|kind| kind.name == name);
        Self::new(kind.expect("a row in the table of stores")).await
    }

    pub async fn try_open(&self) -> Result<Arc<dyn Store>, Error> {
        self.url.open().await
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        self.try_open().await.unwrap()
    }

    /// Does something to the database behind the store's back.
    pub async fn tamper(&self, sql: &str) {
        let mut connection = self.connect().await;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The one number that a statement gives.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let mut connection = self.connect().await;
        let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    async fn connect(&self) -> AnyConnection {
        install_default_drivers();
        AnyConnection::connect(&self.address).await.unwrap()
    }
}
