//! The service as its users meet it: a real `lrs serve` on a real database, over real sockets.

#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/large.rs"]
mod large;
#[path = "../support/monitor.rs"]
mod monitor_support;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/small_disk.rs"]
mod small_disk;
#[path = "../laws/closed_loop/toy.rs"]
#[expect(dead_code, reason = "shared with the laws, which use the rest")]
mod toy;

mod apply;
mod audit_reports;
mod backup;
mod behaviours;
mod changes;
mod cli;
mod closed_loop_service;
mod demo;
mod evaluations;
mod every_update;
mod export;
mod floods;
mod groups;
mod half_sent;
mod http;
mod http_docs;
mod idle;
mod limits;
mod monitor;
mod observability;
mod outages;
mod ownership;
mod program;
mod raw;
mod recovery;
mod retention;
mod secrets;
mod starting;
mod sweep;
mod thresholds;
mod trainer_client;
mod unread;
mod update;
mod upgrades;
