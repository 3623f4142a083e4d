//! Requests that need an approval, as callers, approvers and NinjaOne see them.

mod mistakes;
