//! What helps a person: explain, doctor, exec, sign-in, trust in the local CA, status page.

pub mod admin;
pub mod doctor;
pub mod exec;
pub mod explain;
pub mod sign_in;
pub mod trust;
