//! An empty database for a test, on either side.

use std::sync::Arc;

use lrs_store as store;
use lrs_store::{Error, Store};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::postgres_server::TestPostgres;

/// An empty database.
pub struct TestDatabase {
    pub url: String,
    directory: Option<TempDir>,
}

impl TestDatabase {
    pub async fn postgres() -> Self {
        Self { url: TestPostgres::shared().create_database().await, directory: None }
    }

    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/lrs größe.db");
        Self { url: format!("sqlite://{}", path.display()), directory: Some(directory) }
    }

    pub fn is_sqlite(&self) -> bool {
        self.directory.is_some()
    }

    pub async fn try_open(&self) -> Result<Arc<dyn Store>, Error> {
        store::open(&self.url).await
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        self.try_open().await.unwrap()
    }

    /// Does something to the database behind the store's back.
    pub async fn tamper(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        }
    }

    /// The one identity that a statement gives, as it is shown.
    pub async fn identity(&self, sql: &'static str) -> String {
        let identity: sqlx::types::Uuid = if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        };
        identity.to_string()
    }

    /// The one number that a statement gives.
    pub async fn number(&self, sql: &'static str) -> i64 {
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }
}
