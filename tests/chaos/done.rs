//! The faults of a run, and how the servers came through, for people to read.

use std::{fmt, time::Duration};

/// How often each fault was caused, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// A server or the database was killed with `kill -9`.
    pub kills: u64,
    /// A server was told to end in order.
    pub ends: u64,
    /// A server was stopped for a while.
    pub freezes: u64,
    /// Connections of trainers were cut, or held back.
    pub cuts: u64,
    /// The disk was full.
    pub full_disks: u64,
    /// PostgreSQL was restarted.
    pub database_restarts: u64,
    /// Connections of a server with its database were cut, held back, or led nowhere.
    pub database_cuts: u64,
    /// PostgreSQL ended the sessions of a server.
    pub sessions_ended: u64,
    /// PostgreSQL came back with older data.
    pub older_databases: u64,
    /// Another server took over while the owner was frozen or cut off, and lived on.
    pub deposed: u64,
    /// Another process than before was ready.
    pub takeovers: u64,
    /// How long the database had no owner after the owner was told to end.
    pub handovers: Vec<Duration>,
}

impl Done {
    pub fn add(&mut self, more: Self) {
        self.kills += more.kills;
        self.ends += more.ends;
        self.freezes += more.freezes;
        self.cuts += more.cuts;
        self.full_disks += more.full_disks;
        self.database_restarts += more.database_restarts;
        self.database_cuts += more.database_cuts;
        self.sessions_ended += more.sessions_ended;
        self.older_databases += more.older_databases;
        self.deposed += more.deposed;
        self.takeovers += more.takeovers;
        self.handovers.extend(more.handovers);
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kills {}, ends {}, freezes {}, cuts {}, full disks {}; of the database: restarts {}, cuts {}, sessions \
             ended {}, older data {}; takeovers {}, of a living owner {}",
            self.kills,
            self.ends,
            self.freezes,
            self.cuts,
            self.full_disks,
            self.database_restarts,
            self.database_cuts,
            self.sessions_ended,
            self.older_databases,
            self.takeovers,
            self.deposed,
        )?;
        let mut handovers = self.handovers.clone();
        handovers.sort_unstable();
        match (handovers.get(handovers.len() / 2), handovers.last()) {
            (Some(median), Some(longest)) => write!(f, "; handed over in {median:.1?}, at most {longest:.1?}"),
            _ => Ok(()),
        }
    }
}
