//! What helps a person: explain, doctor, sign-in, status page.

pub mod admin;
pub mod doctor;
pub mod explain;
pub mod sign_in;
