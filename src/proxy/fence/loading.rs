//! The reads of the directory: a list page by page, or one object.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::uri::PathAndQuery;
use rustc_hash::FxHashSet;

use super::EntityId;
use super::sources::{Row, Source};

/// How many pages a list may have: 2.5 million rows.
const MAX_PAGES: usize = 5000;

/// Why NinjaOne could not be asked whose something is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// It was not reached, or there is no token.
    #[error("NinjaOne could not be asked: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// It answered with an error.
    #[error("NinjaOne answered {1} to GET {0}")]
    Refused(PathAndQuery, StatusCode),
    /// It answered something else than rows.
    #[error("NinjaOne's answer to GET {0} cannot be read as a list of ids")]
    Unreadable(PathAndQuery),
    /// The list does not end.
    #[error("the list GET {0} does not end")]
    Endless(PathAndQuery),
}

/// What of a list belongs to an organization, by the rows themselves; or to these devices of it.
pub(super) async fn load<R>(
    read: &R,
    source: Source,
    organization: u64,
    devices: Option<&FxHashSet<u128>>,
) -> Result<FxHashSet<u128>, LookupError>
where
    R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError>,
{
    let mut ids = FxHashSet::default();
    let is_own = |owner: EntityId| match devices {
        Some(devices) => devices.contains(&owner.0),
        None => owner == EntityId(organization.into()),
    };
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let Some(target) = source.page(organization, after) else { return Ok(ids) };
        // An organization that is not there has nothing.
        let Some(bytes) = read(target.clone()).await? else { return Ok(ids) };
        let rows: Vec<Row> = serde_json::from_slice(&bytes).map_err(|_| LookupError::Unreadable(target.clone()))?;
        let own = rows.iter().filter(|row| source.owner_of(row).is_some_and(is_own));
        ids.extend(own.filter_map(|row| source.id_of(row)).map(|EntityId(id)| id));
        let Some(last) = rows.last().filter(|_| source.is_paged) else { return Ok(ids) };
        match last.number().filter(|last| after.is_none_or(|after| *last > after)) {
            Some(last) => after = Some(last),
            None => return Err(LookupError::Endless(target)),
        }
    }
    Err(source
        .page(organization, None)
        .map_or(LookupError::Unreadable(PathAndQuery::from_static("/")), LookupError::Endless))
}

/// Whether the list of an organization has a row.
pub(super) async fn find<R>(read: &R, source: Source, organization: u64, id: EntityId) -> Result<bool, LookupError>
where
    R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError>,
{
    let Some(target) = source.single(organization, id) else { return Ok(false) };
    let Some(bytes) = read(target.clone()).await? else { return Ok(false) };
    let rows: Vec<Row> = serde_json::from_slice(&bytes).map_err(|_| LookupError::Unreadable(target))?;
    let owner = EntityId(organization.into());
    Ok(rows.iter().any(|row| source.id_of(row) == Some(id) && source.owner_of(row) == Some(owner)))
}

/// Whose an object is, as NinjaOne says; nobody's if it is not there.
pub(super) async fn load_object<R>(read: &R, source: Source, id: EntityId) -> Result<Option<u64>, LookupError>
where
    R: AsyncFn(PathAndQuery) -> Result<Option<Bytes>, LookupError>,
{
    let Some(target) = source.target(id) else { return Ok(None) };
    let Some(bytes) = read(target.clone()).await? else { return Ok(None) };
    let row: Row = serde_json::from_slice(&bytes).map_err(|_| LookupError::Unreadable(target))?;
    // Another object than the one that was asked for says nothing about it.
    let is_it = source.id_of(&row).is_none_or(|found| found == id);
    Ok(source.owner_of(&row).filter(|_| is_it).and_then(|EntityId(owner)| u64::try_from(owner).ok()))
}
