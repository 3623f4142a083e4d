//! What helps a person: explain, doctor, sign-in, trust in the local CA, status page.

pub mod admin;
pub mod doctor;
pub mod explain;
pub mod sign_in;
pub mod trust;
