//! What explains the proxy to a person: explain, doctor, status page.

pub mod admin;
pub mod doctor;
pub mod explain;
