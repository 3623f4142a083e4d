//! Where a check writes down what it found, for people who read along.

use tokio::sync::mpsc::UnboundedSender;

use super::report::{CheckLine, CheckStatus};
use crate::base::plain::is_plain;

/// What happens, as it happens.
#[derive(Debug)]
pub enum DoctorEvent {
    /// A check has begun.
    Begun(String),
    /// A check has ended.
    Ended(CheckLine),
}

/// The lines of one instance, or of what concerns all.
#[derive(Debug, Clone)]
pub struct Reporter {
    instance: Option<String>,
    news: UnboundedSender<DoctorEvent>,
}

impl Reporter {
    /// A report without the name of an instance yet.
    pub fn new(news: UnboundedSender<DoctorEvent>) -> Self {
        Self { instance: None, news }
    }

    /// The report of an instance.
    pub(super) fn of(&self, instance: &str) -> Self {
        Self { instance: Some(instance.to_owned()), news: self.news.clone() }
    }

    /// Says that a check begins, which may take a while.
    pub(super) fn begin(&self, check: &str) {
        // A reader who has gone does not keep the checks from ending.
        let _ = self.news.send(DoctorEvent::Begun(check.to_owned()));
    }

    pub(super) fn ok(&self, check: &str, detail: impl Into<String>) {
        self.write(check, CheckStatus::Ok, detail.into(), None);
    }

    pub(super) fn warn(&self, check: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.write(check, CheckStatus::Warning, detail.into(), Some(fix.into()));
    }

    pub(super) fn fail(&self, check: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.write(check, CheckStatus::Failed, detail.into(), Some(fix.into()));
    }

    /// Says that checks were not tried, because of something such as "tcp failed".
    pub(super) fn skip(&self, checks: &[&str], because: &str) {
        for check in checks {
            self.write(check, CheckStatus::Skipped, format!("not tried, because {because}"), None);
        }
    }

    /// As [`Reporter::ok`], [`Reporter::warn`] or [`Reporter::fail`], as `status` says.
    pub(super) fn write(&self, check: &str, status: CheckStatus, detail: String, fix: Option<String>) {
        let (check, instance) = (check.to_owned(), self.instance.clone());
        let (detail, fix) = (printable(&detail), fix.map(|fix| printable(&fix)));
        let _ = self.news.send(DoctorEvent::Ended(CheckLine { instance, check, status, detail, fix }));
    }
}

/// Without characters that are not plain: certificates and answers come from strangers, and the text goes to a terminal.
fn printable(text: &str) -> String {
    text.trim().chars().map(|c| if is_plain(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reporter_lets_no_control_character_through() {
        let (news, mut told) = tokio::sync::mpsc::unbounded_channel();
        Reporter::new(news).fail("tls", "CN=\u{1b}[2Jevil\r\n", "a\nb");
        let Ok(DoctorEvent::Ended(line)) = told.try_recv() else { panic!("a line") };
        assert_eq!((line.detail.as_str(), line.fix.as_deref()), ("CN= [2Jevil", Some("a b")));
    }
}
