//! The proxy as its callers, its administrators and NinjaOne see it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall end there and say why"
)]

#[path = "../oracle/answers.rs"]
mod answers;
mod approvals;
mod audit;
mod bearer;
#[cfg(unix)]
mod binary;
mod bodies;
#[path = "../oracle/bodies.rs"]
mod bodies_oracle;
mod body_readings;
mod browser;
#[path = "../oracle/chain.rs"]
mod chain;
mod command_line;
mod configuration;
mod confusion;
mod connect;
#[path = "../oracle/connects.rs"]
mod connects;
mod credentials;
#[cfg(target_os = "linux")]
mod docs;
mod doctor;
#[path = "../oracle/doorkeeper.rs"]
mod doorkeeper;
#[cfg(unix)]
mod doors;
mod dry_run;
mod egress;
mod encrypted;
#[cfg(target_os = "linux")]
mod exec;
mod faults;
mod fence;
mod fenced_commands;
mod files;
mod floods;
mod grants;
mod guard;
mod harness;
mod headers;
#[path = "../oracle/heads.rs"]
mod heads;
mod health;
#[cfg(unix)]
mod init;
mod injection;
#[cfg(unix)]
mod intercept;
mod invented;
mod judgement;
mod learn;
mod ledger;
mod listener;
mod localhost;
mod loops;
mod memory;
mod metrics;
mod monitoring;
mod newer;
mod page;
#[path = "../oracle/page_documents.rs"]
mod page_documents;
#[path = "../oracle/pages.rs"]
mod pages;
mod pages_filtered;
mod panics;
mod permits;
#[path = "../oracle/promql.rs"]
mod promql;
mod property;
#[path = "../oracle/queries.rs"]
mod queries;
mod quota;
#[path = "../oracle/quotas.rs"]
mod quotas;
mod rate;
#[path = "../oracle/readings.rs"]
mod readings;
#[cfg(unix)]
mod record;
mod reload;
#[path = "../oracle/replies.rs"]
mod replies;
mod review;
mod rooms;
#[path = "../oracle/rulebook.rs"]
mod rulebook;
#[cfg(unix)]
mod shared;
mod sign_in;
mod slots;
#[path = "../oracle/spelling.rs"]
mod spelling;
mod target;
mod tls;
mod token;
mod traces;
mod trust;
mod unread;
mod upstream;
#[path = "../oracle/votes.rs"]
mod votes;
mod watch;
#[cfg(target_os = "linux")]
mod weight;
