//! An answer of the instance's, read a second time and plainly: the measure of what hyper and our judgement let pass.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ninjaone_proxy::proxy::upstream::head;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Status and body.
type Whole = (u16, Vec<u8>);

/// Gives the bytes as the answer to a GET, then the end, and fails where they are taken for another answer than the
/// one that is written there. Returns whether they are taken for one at all.
pub(crate) fn hold(bytes: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let taken = runtime.block_on(take(bytes));
    if let Some(taken) = &taken {
        assert_eq!(plainly(bytes).as_ref(), Some(taken), "{:?}", String::from_utf8_lossy(bytes));
    }
    taken.is_some()
}

/// What would be relayed as a whole answer.
async fn take(bytes: &[u8]) -> Option<Whole> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(near)).await.ok()?;
    let serve = async {
        // The request first: what comes before it is nobody's answer.
        let mut asked = [0; 64];
        let _ = far.read(&mut asked).await;
        let _ = far.write_all(bytes).await;
        let _ = far.shutdown().await;
        // What the client still says.
        while far.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {}
        Ok::<_, Infallible>(())
    };
    let ask = async {
        let request = Request::builder().uri("/").header("host", "x").body(Empty::new()).ok()?;
        let (mut head, body) = sender.send_request(request).await.ok()?.into_parts();
        drop(sender);
        head::judge(&mut head).ok()?;
        assert!(head.version <= Version::HTTP_11);
        let body = body.collect().await.ok()?.to_bytes().to_vec();
        Some((head.status.as_u16(), body))
    };
    let drive = async {
        let _ = connection.await;
    };
    tokio::join!(ask, drive, async { serve.await.unwrap_or(()) }).0
}

/// The first final answer that is written there whole, by RFC 9112 alone; lines may end in LF.
fn plainly(bytes: &[u8]) -> Option<Whole> {
    let mut rest = bytes;
    loop {
        let head = lines(&mut rest)?;
        let (status, old) = status(head.first()?)?;
        let all: Option<Vec<_>> = head.get(1..)?.iter().map(|line| field(line)).collect();
        let fields = all?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        return Some((status, body(status, old, &fields, rest)?));
    }
}

/// The lines through the next empty one, without empty ones before.
fn lines<'a>(rest: &mut &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let mut lines = Vec::new();
    loop {
        let line = line(rest)?;
        match (line.is_empty(), lines.is_empty()) {
            (true, true) => {}
            (true, false) => return Some(lines),
            (false, _) => lines.push(line),
        }
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// The status, and whether the version is 1.0.
fn status(line: &[u8]) -> Option<(u16, bool)> {
    let old = line.starts_with(b"HTTP/1.0 ");
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let code = rest.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit))?;
    let status = std::str::from_utf8(code).ok()?.parse().ok()?;
    let spaced = matches!(rest.get(3), None | Some(b' '));
    (spaced && (100..600).contains(&status) && status != 101).then_some((status, old))
}

fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let value = value.get(1..)?.trim_ascii();
    let clean = value.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    (!name.is_empty() && name.iter().all(token) && clean)
        .then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value))
}

fn body(status: u16, old: bool, fields: &[(String, &[u8])], rest: &[u8]) -> Option<Vec<u8>> {
    let all =
        |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect::<Vec<_>>();
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    let length = match lengths.as_slice() {
        [] => None,
        [one] if one.iter().all(u8::is_ascii_digit) => Some(std::str::from_utf8(one).ok()?.parse::<u64>().ok()?),
        _ => return None,
    };
    match (codings.as_slice(), length) {
        ([], length) if status == 204 && length.unwrap_or(0) > 0 => None,
        (_, _) if status == 204 && !codings.is_empty() => None,
        ([], _) if status == 204 || status == 304 => Some(Vec::new()),
        ([one], None) if one.eq_ignore_ascii_case(b"chunked") && (status == 304) => Some(Vec::new()),
        ([one], None) if one.eq_ignore_ascii_case(b"chunked") && !old => chunks(rest),
        ([], Some(length)) => rest.get(..usize::try_from(length).ok()?).map(<[u8]>::to_vec),
        ([], None) => Some(rest.to_vec()),
        (_, _) => None,
    }
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut rest)?;
        let digits = size.split(|byte| b"; \t".contains(byte)).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            // Trailers, or none, and an empty line.
            while !line(&mut rest)?.is_empty() {}
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?;
        if !line(&mut rest)?.is_empty() {
            return None;
        }
    }
}
