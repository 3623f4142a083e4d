//! A list that passes row by row, and goes on at NinjaOne where rows were dropped.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use super::super::Proxy;
use super::MAX_ROW;
use crate::net::body::BodyError;
use crate::observe::metrics::traffic::FencedRows;
use crate::proxy::enclosing::Enclosure;
use crate::proxy::fence::rows::{Cursor, PageEnd, PageFilter, PageLimits, RowsCheck};
use crate::proxy::fence::{FenceError, request};
use crate::proxy::policy::catalog::{Paging, RowKey};
use crate::proxy::policy::query::Query;
use crate::proxy::response::{Rejection, ResponseBody};
use crate::proxy::upstream::AnswerBody;

/// A piece goes to the caller once it has this many bytes.
const PIECE: usize = 16 * 1024;
/// How many rows are asked for in a further page.
const FURTHER_PAGE: u64 = 1000;
/// How many further pages are read for one answer.
const MAX_PAGES: usize = 1000;

/// What list was asked for, and how it goes on.
pub(super) struct ListRequest {
    target: PathAndQuery,
    check: RowsCheck,
    paging: Option<Paging>,
    /// How many rows were asked for.
    page_size: Option<u64>,
}

/// A list on its way to the caller.
pub(super) struct RowStream {
    proxy: Rc<Proxy>,
    enclosure: Box<Enclosure>,
    list: ListRequest,
    /// The page at hand; `None` behind the last one.
    page: Option<(Box<AnswerBody>, PageFilter)>,
    /// What the caller gets next.
    out: Vec<u8>,
    kept: u64,
    pages: usize,
    has_dropped: bool,
    /// The `id` of the last row that was kept, and of the last one that was seen.
    last: (Option<u64>, Option<u64>),
    cursor: Option<Cursor>,
}

impl ListRequest {
    pub(super) fn new(target: &PathAndQuery, at: String, key: Option<RowKey>, paging: Option<Paging>) -> Self {
        let size = Query::new(target.query()).values("pageSize").ok();
        let page_size = size.and_then(|values| values.first()?.parse().ok()).filter(|size| *size > 0);
        Self { target: target.clone(), check: RowsCheck { at, key }, paging, page_size }
    }

    fn filter(&self, rows_before: u64) -> PageFilter {
        // The name of a cursor is good for what comes behind the whole page; an id for what comes behind its row.
        let is_cut = matches!(self.paging, Some(Paging::After | Paging::Older));
        let max_rows = self.page_size.filter(|_| is_cut).map(|size| size.saturating_sub(rows_before));
        PageFilter::new(self.check.clone(), PageLimits { row_bytes: MAX_ROW, max_rows, rows_before })
    }

    /// The cursor that was asked for.
    fn cursor(&self) -> Option<String> {
        let values = Query::new(self.target.query()).values("cursor").ok()?;
        values.into_iter().next().filter(|name| !name.is_empty())
    }

    /// Where the list goes on behind a page with this last row; `None` if it cannot.
    fn next(&self, last: Option<u64>, cursor: Option<&Cursor>) -> Option<PathAndQuery> {
        let is_forward = || {
            let query = Query::new(self.target.query());
            query.may_have("newerThan", None) && !query.may_have("olderThan", None)
        };
        let (name, value) = match self.paging? {
            Paging::After => ("after", last?.to_string()),
            Paging::Older if is_forward() => ("newerThan", last?.to_string()),
            Paging::Older => ("olderThan", last?.to_string()),
            Paging::Cursor => ("cursor", encoded(&cursor?.name)),
        };
        let target = request::with_parameter(&self.target, name, &value)?;
        let more = self.page_size.is_some_and(|size| size < FURTHER_PAGE) && self.paging != Some(Paging::Cursor);
        if more { request::with_parameter(&target, "pageSize", &FURTHER_PAGE.to_string()) } else { Some(target) }
    }
}

/// As a value of a query.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl RowStream {
    pub(super) fn new(
        proxy: &Rc<Proxy>,
        enclosure: Box<Enclosure>,
        list: ListRequest,
        first: Box<AnswerBody>,
    ) -> Box<Self> {
        let mut out = Vec::with_capacity(PIECE);
        match list.check.at.as_str() {
            "" => out.push(b'['),
            at => out.extend_from_slice(format!("{{\"{at}\":[").as_bytes()),
        }
        let filter = list.filter(0);
        Box::new(Self {
            proxy: Rc::clone(proxy),
            enclosure,
            list,
            page: Some((first, filter)),
            out,
            kept: 0,
            pages: 0,
            has_dropped: false,
            last: (None, None),
            cursor: None,
        })
    }

    /// The body, once its first rows are there, or its end: until then a fault can be told by a status.
    pub(super) async fn into_body(self: Box<Self>) -> Result<ResponseBody, Rejection> {
        let (first, rest) = self.piece().await?;
        let next = rest.map(|rest| Box::pin(rest.piece()) as Piece);
        Ok(ResponseBody::Filtered(Box::pin(RowBody { first: Some(first), next })))
    }

    /// The next piece, and what comes behind it.
    async fn piece(mut self: Box<Self>) -> Result<(Bytes, Option<Box<Self>>), FenceError> {
        while let Some((body, filter)) = &mut self.page {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    filter.push(&data, &self.enclosure.inside, &mut self.out)?;
                    if self.out.len() >= PIECE {
                        let piece = std::mem::replace(&mut self.out, Vec::with_capacity(PIECE));
                        return Ok((Bytes::from(piece), Some(self)));
                    }
                }
                Some(Err(_)) => return Err(FenceError::Broken),
                None => self.turn_page().await?,
            }
        }
        self.close().await;
        Ok((Bytes::from(std::mem::take(&mut self.out)), None))
    }

    /// A page has ended: asks for the next one, if the caller would take the list for ended too early.
    async fn turn_page(&mut self) -> Result<(), FenceError> {
        let Some((_, filter)) = self.page.take() else { return Ok(()) };
        let end = filter.finish()?;
        self.account(&end);
        self.kept += end.kept;
        self.last.0 = end.last_kept_id.or(self.last.0);
        // Where the first page began, the rest of this answer goes on.
        let offset =
            self.cursor.as_ref().map_or(end.cursor.as_ref().and_then(|cursor| cursor.offset), |first| first.offset);
        self.cursor = end.cursor.clone().map(|cursor| Cursor { offset, ..cursor }).or(self.cursor.take());
        let has_dropped = end.outside + end.unreadable > 0;
        self.has_dropped |= has_dropped;
        let is_enough = end.is_full || self.kept >= self.list.page_size.unwrap_or(1);
        if !has_dropped || is_enough || self.list.paging.is_none() {
            return Ok(());
        }
        let last = end.last_id;
        let is_stuck = self.list.paging != Some(Paging::Cursor) && (last.is_none() || last == self.last.1);
        let next = self.list.next(last, self.cursor.as_ref()).filter(|_| !is_stuck).ok_or(FenceError::Endless)?;
        self.pages += 1;
        if self.pages > MAX_PAGES {
            return Err(FenceError::Endless);
        }
        self.last.1 = last;
        let answer =
            self.enclosure.lookups.continued(next).await.map_err(|error| FenceError::Failed(Arc::new(error)))?;
        super::check_head(&answer, &self.enclosure.answer)?;
        self.page = Some((answer.body, self.list.filter(self.kept)));
        Ok(())
    }

    /// Tells what became of a page's rows.
    fn account(&self, end: &PageEnd) {
        let PageEnd { kept, outside, unreadable, .. } = *end;
        let is_narrowed = self.enclosure.is_narrowed;
        self.proxy.sender.upstream.fenced(FencedRows { kept, outside, unreadable, is_narrowed });
        let path = self.list.target.path();
        if is_narrowed
            && outside > 0
            && let Some(left_out) = self.proxy.sink.warnings.due("fence-leak")
        {
            tracing::warn!(
                path,
                rows = outside,
                left_out,
                "NinjaOne answered with rows of other organizations although the request asked for those of the fence only: they were dropped"
            );
        }
        if let Some(unreadable) = &end.first_unreadable
            && let Some(left_out) = self.proxy.sink.warnings.due("fence-unreadable")
        {
            let rows = end.unreadable;
            tracing::warn!(path, rows, reason = %unreadable, left_out, "nobody can tell whose some rows of NinjaOne's answer are: they were dropped");
        }
    }

    /// Closes the frame. Of what NinjaOne says around the rows, only what leads to the next page is told.
    async fn close(&mut self) {
        if self.list.check.at.is_empty() {
            self.out.push(b']');
            return;
        }
        let mut end = "]".to_owned();
        if let Some(Cursor { name, offset, expires }) = &self.cursor {
            // Clients stop where it does not grow. NinjaOne's own is of rows outside too, unless it left these out.
            let own = offset.filter(|_| self.enclosure.is_narrowed && !self.has_dropped);
            let directory = &self.proxy.directory;
            let before = match self.list.cursor() {
                Some(asked) => directory.rows_before(&asked).await.or(own).unwrap_or(0),
                None => 0,
            };
            directory.keep_rows(name, before + self.kept).await;
            let expires = expires.as_ref().map_or_else(String::new, |time| format!(",\"expires\":{time}"));
            end += &format!(",\"cursor\":{{\"name\":\"{name}\",\"offset\":{before},\"count\":{}{expires}}}", self.kept);
        }
        if let (Some(Paging::Older), Some(id)) = (self.list.paging, self.last.0) {
            end += &format!(",\"lastActivityId\":{id}");
        }
        self.out.extend_from_slice(end.as_bytes());
        self.out.push(b'}');
    }
}

type Piece = Pin<Box<dyn Future<Output = Result<(Bytes, Option<Box<RowStream>>), FenceError>>>>;

/// The pieces of a list. One that cannot be finished breaks off.
struct RowBody {
    first: Option<Bytes>,
    next: Option<Piece>,
}

impl Body for RowBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        match ready!(next.as_mut().poll(cx)) {
            Ok((piece, rest)) => {
                self.next = rest.map(|rest| Box::pin(rest.piece()) as Piece);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Err(error) => {
                self.next = None;
                tracing::warn!(%error, "the answer to a caller that is kept to organizations was broken off");
                Poll::Ready(Some(Err(BodyError::Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.next.is_none()
    }
}
